//! Where a model is computed: which devices there are, and what is said where there is none.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::ModelError;

/// Whether this program was built for NVIDIA's devices: the feature `cuda`.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// Where a model is computed, as a person says it: `auto`, `cpu`, `cuda` or `cuda:1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// On the first CUDA device, where the program was built for such and there is one; otherwise on
    /// the processor.
    #[default]
    Auto,
    /// On the processor.
    Cpu,
    /// On the CUDA device of that number.
    Cuda(usize),
}

impl DeviceChoice {
    /// Opens the device; fails where it is named and cannot be had.
    pub fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => cuda(number),
            Self::Auto if !HAS_CUDA => Ok(Device::Cpu),
            Self::Auto => cuda(0).or_else(|error| {
                tracing::info!("the model is computed on the processor: {error}");
                Ok(Device::Cpu)
            }),
        }
    }
}

/// What to say of a device, as [`DeviceChoice`] is written.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cuda { gpu_id } => DeviceChoice::Cuda(gpu_id).to_string(),
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

fn cuda(number: usize) -> Result<Device, ModelError> {
    if !HAS_CUDA {
        return Err(ModelError::Device(format!(
            "cuda:{number} cannot be used: this program was built without CUDA. Build it with \
             `--features cuda`, or set model.device to \"cpu\""
        )));
    }
    // A stream of its own: candle's other way takes the calling thread's, and a model is loaded in one
    // thread and used in another.
    Device::new_cuda_with_stream(number).map_err(|error| {
        let error = error.to_string();
        let cause = error.lines().next().unwrap_or_default().to_owned();
        ModelError::Device(format!(
            "no CUDA device cuda:{number} ({cause}): see whether `nvidia-smi` lists it, or set \
             model.device to \"cpu\""
        ))
    })
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or("write auto, cpu, cuda or cuda:1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_written() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:+1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_processor_is_always_there_and_a_device_that_is_not_is_named_with_what_to_do() {
        assert!(DeviceChoice::Cpu.open().unwrap().is_cpu());
        assert_eq!(device_name(&Device::Cpu), "cpu");
        // Nobody has so many.
        let error = DeviceChoice::Cuda(999).open().unwrap_err().to_string();
        assert!(error.contains("cuda:999") && error.contains("model.device"), "{error}");
        assert_eq!(error.contains("--features cuda"), !HAS_CUDA, "{error}");
        DeviceChoice::Auto.open().unwrap();
    }
}
