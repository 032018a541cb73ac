//! The settings: defaults, then a file, then the environment, then flags.

mod ask;
mod caption;
mod cluster;
mod hub;
mod judge;
mod layers;
pub(crate) mod secret;
pub(crate) mod sources;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use footage_clip::{PartialClip, Rate, WindowSpec};
use footage_indexer::IndexerSettings;
use footage_model::config::Fit;
use footage_model::{DeviceChoice, Model, Precision};
use footage_pipeline::{
    DecodeMode, DecodeSettings, EmbedSettings, LiveDecode, PictureSize, RecordingSettings,
    Transport,
};
use footage_search::By;
use gstfootage::footageclip::LONGEST_GAP;

pub(crate) use self::ask::AnswererChoice;
use self::ask::AskSettings;
use self::caption::CaptionSettings;
pub(crate) use self::cluster::ClusterSettings;
use self::hub::HubSettings;
pub(crate) use self::judge::JudgeSettings;
pub(crate) use self::layers::{Layers, Origin, Setting};
use crate::cli::{Global, Stated};

/// Every setting with its default and its explanation. The only place a default is written.
pub(crate) const DEFAULTS: &str = include_str!("../../../configs/default.toml");

/// A fragment is lost as a whole where its disk is: an hour is enough to lose.
const LONGEST_FRAGMENT: Duration = Duration::from_secs(3600);

/// Pixels of a thumbnail's longer side.
const THUMBNAIL_WIDTH: u32 = 320;

/// The file that is read where no other is named.
const OWN_FILE: &str = "footage.toml";

/// All settings, read and checked. `configs/default.toml` explains each.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub data_dir: PathBuf,
    /// None: the bundled model.
    pub model_dir: Option<PathBuf>,
    /// Where models are computed.
    pub device: DeviceChoice,
    /// How exactly videos are computed.
    pub precision: Precision,
    /// None: as the model was trained.
    pub fit: Option<Fit>,
    pub hub: HubSettings,
    pub window: WindowSettings,
    pub decode: DecodeChoices,
    pub embed: EmbedSettings,
    pub live: LiveSettings,
    pub record: RecordSettings,
    /// None: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    pub index: IndexSettings,
    pub search: SearchSettings,
    pub cluster: ClusterSettings,
    pub ask: AskSettings,
    pub caption: CaptionSettings,
    pub judge: JudgeSettings,
}

/// What is not stated is as the model was trained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowSettings {
    length_frames: Option<usize>,
    stride_frames: Option<usize>,
    rate: Option<Rate>,
}

/// How files are decoded, whatever the model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecodeChoices {
    mode: DecodeMode,
    max_pixels: u64,
    stalled_after: Duration,
    max_gap: Duration,
    partial: PartialClip,
    pub parallel_files: NonZeroUsize,
}

/// What is done with live sources that do not say otherwise themselves.
#[derive(Clone, Debug)]
pub(crate) struct LiveSettings {
    pub transport: Transport,
    pub decode: LiveDecode,
    pub gate: bool,
    pub refresh: Duration,
    pub stalled_after: Duration,
    pub queue_clips: NonZeroUsize,
    pub batch_wait: Duration,
}

/// How the footage of live sources is kept.
#[derive(Clone, Debug)]
pub(crate) struct RecordSettings {
    pub enabled: bool,
    pub fragment: Duration,
    pub keep_days: f64,
    pub keep_gib: f64,
    pub min_free_mib: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct IndexSettings {
    batch_clips: NonZeroUsize,
    batch_wait: Duration,
    pub queue_records: NonZeroUsize,
    pub optimize_after_clips: usize,
    pub optimize_idle: Duration,
    pub optimize_threads: usize,
    pub graph_from_kib: usize,
    pub beam: usize,
    pub settle_after_clips: usize,
    pub min_free_mib: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct SearchSettings {
    pub by: By,
    pub limit: usize,
    pub min_confidence: f32,
    /// None: one stride of the source's window.
    pub gap_ns: Option<u64>,
}

/// How the settings were stated, to read them again.
#[derive(Clone, Debug)]
pub(crate) struct Restate {
    pub global: Global,
    pub of_verb: Vec<Stated>,
}

impl Restate {
    /// Every setting as it is stated now.
    pub(crate) fn layers(&self) -> Result<Layers> {
        layers(&self.global, self.of_verb.clone())
    }
}

/// Every setting as stated, the last statement winning.
fn layers(global: &Global, of_verb: Vec<Stated>) -> Result<Layers> {
    let mut layers = Layers::of_defaults(DEFAULTS)?;
    if let Some(path) = &global.config {
        layers = layers.with_file(path)?;
    } else if Path::new(OWN_FILE).is_file() {
        layers = layers.with_file(Path::new(OWN_FILE))?;
    }
    // A variable that is no UTF-8 cannot be a setting of ours, whose names and values all are.
    let of_us = |name: &str| name.starts_with(layers::ENV_PREFIX);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| of_us(name));
    let mut stated = Vec::new();
    for (name, value) in variables {
        let value = value.into_string().ok().with_context(|| format!("{name} is not UTF-8"))?;
        stated.push((name, value));
    }
    layers = layers.with_env(stated)?;
    for statement in &global.set {
        let (key, value) = statement
            .split_once('=')
            .with_context(|| format!("--set {statement}: write it as section.key=value"))?;
        layers.state_text(key.trim(), value.trim(), Origin::Flag("--set".into()))?;
    }
    let of_all = [
        ("data.dir", global.data_dir.clone(), "--data-dir"),
        ("model.dir", global.model.clone(), "--model"),
    ];
    let of_all = of_all.into_iter().filter_map(|(key, value, flag)| Some((key, value?, flag)));
    for (key, value, flag) in of_all.chain(of_verb) {
        layers.state_text(key, &value, Origin::Flag(flag.into()))?;
    }
    Ok(layers)
}

impl Settings {
    /// Reads and checks every setting, so that a wrong one is found before any work begins.
    pub(crate) fn read(layers: &Layers) -> Result<Self> {
        let ask = AskSettings::read(layers)?;
        Ok(Self {
            data_dir: data_dir(&layers.get::<String>("data.dir")?)?,
            model_dir: non_empty(layers.get::<String>("model.dir")?),
            device: layers.parsed_unless("model.device", "auto")?.unwrap_or_default(),
            precision: layers.get("model.precision")?,
            fit: match layers.get::<String>("model.fit")?.as_str() {
                "model" => None,
                _ => Some(layers.get("model.fit")?),
            },
            hub: HubSettings::read(layers)?,
            window: WindowSettings {
                length_frames: layers.parsed_unless("window.length_frames", "model")?,
                stride_frames: layers.parsed_unless("window.stride_frames", "model")?,
                rate: layers.parsed_unless("window.rate", "model")?,
            },
            decode: DecodeChoices {
                mode: layers.get("decode.mode")?,
                max_pixels: (layers.within("decode.max_megapixels", 0.01, 1000.0)? * 1e6) as u64,
                stalled_after: layers.seconds("decode.stalled_after_s", 0.1)?,
                max_gap: layers.seconds_up_to("decode.max_gap_s", 0.1, LONGEST_GAP)?,
                partial: layers.get("decode.partial")?,
                parallel_files: layers.count("decode.parallel_files", 256)?,
            },
            embed: EmbedSettings {
                max_frames: layers.count("embed.max_frames", 4096)?,
                max_clips: layers.count("embed.max_clips", 4096)?,
                queue_clips: layers.count("embed.queue_clips", 65_536)?,
                max_features_bytes: layers.within::<u64>("embed.features_mib", 1, 1 << 30)? << 20,
                ..EmbedSettings::default()
            },
            live: LiveSettings {
                transport: layers.parsed_unless("live.transport", "")?.unwrap_or_default(),
                decode: layers.parsed_unless("live.decode", "")?.unwrap_or_default(),
                gate: layers.get("live.gate")?,
                refresh: layers.seconds("live.refresh_s", 1.0)?,
                stalled_after: layers.seconds("live.stalled_after_s", 1.0)?,
                queue_clips: layers.count("live.queue_clips", 65_536)?,
                batch_wait: layers.seconds("live.batch_wait_s", 0.0)?,
            },
            record: RecordSettings {
                enabled: layers.get("record.enabled")?,
                fragment: layers.seconds_up_to("record.fragment_s", 1.0, LONGEST_FRAGMENT)?,
                keep_days: layers.within("record.keep_days", 0.0, 1e6)?,
                keep_gib: layers.within("record.keep_gib", 0.0, 1e6)?,
                min_free_mib: layers.within("record.min_free_mib", 0, 1 << 30)?,
            },
            metrics_listen: address(layers, "metrics.listen")?,
            index: IndexSettings {
                batch_clips: layers.count("index.batch_clips", 65_536)?,
                batch_wait: layers.seconds("index.batch_wait_s", 0.0)?,
                queue_records: layers.count("index.queue_records", 65_536)?,
                optimize_after_clips: layers.within(
                    "index.optimize_after_clips",
                    1,
                    100_000_000,
                )?,
                optimize_idle: layers.seconds("index.optimize_idle_s", 0.0)?,
                optimize_threads: layers.within("index.optimize_threads", 0, 1024)?,
                graph_from_kib: layers.within("index.graph_from_kib", 1, 100_000_000)?,
                beam: layers.within("index.beam", 1, 100_000)?,
                settle_after_clips: layers.within("index.settle_after_clips", 1, 100_000_000)?,
                min_free_mib: layers.within("index.min_free_mib", 64, 1 << 30)?,
            },
            search: SearchSettings {
                by: layers.get("search.by")?,
                limit: layers.within("search.limit", 1, 1000)?,
                min_confidence: layers.within("search.min_confidence", 0.0, 1.0)?,
                gap_ns: layers.parsed_unless::<Seconds>("search.gap_s", "stride")?.map(|s| s.0),
            },
            cluster: ClusterSettings::read(layers)?,
            caption: CaptionSettings::read(layers, &ask)?,
            judge: JudgeSettings::read(layers, &ask)?,
            ask,
        })
    }
}

impl WindowSettings {
    /// Whether any of it is stated, and not the model's own.
    pub(crate) fn is_stated(&self) -> bool {
        self.length_frames.is_some() || self.stride_frames.is_some() || self.rate.is_some()
    }

    /// The window in force for a model.
    pub(crate) fn of(&self, model: &Model) -> Result<WindowSpec> {
        let own = model.window();
        let length = self.length_frames.unwrap_or(own.length());
        // A stride that fits the model's own length need not fit another.
        let stride = self.stride_frames.unwrap_or(own.stride().min(length));
        let spec = WindowSpec::try_new(length, stride, self.rate.unwrap_or(own.rate()));
        let spec = spec.context("the settings under [window] make no window")?;
        let most = model.video().max_frames();
        ensure!(
            spec.length() <= most,
            "setting `window.length_frames` is {}: the model {} takes clips of at most {most} frames",
            spec.length(),
            model.name()
        );
        Ok(spec)
    }
}

impl IndexSettings {
    /// How clips are brought from the topic into the index.
    pub(crate) fn indexer(&self) -> IndexerSettings {
        IndexerSettings {
            max_batch: self.batch_clips,
            max_wait: self.batch_wait,
            ..IndexerSettings::default()
        }
    }
}

impl RecordSettings {
    /// How a source that is recorded is recorded.
    pub(crate) fn recording(&self) -> RecordingSettings {
        RecordingSettings {
            fragment: self.fragment,
            min_free_bytes: self.min_free_mib << 20,
            ..RecordingSettings::default()
        }
    }
}

impl DecodeChoices {
    /// The settings in force for a model: frames are kept as large as it looks at them, and as a
    /// thumbnail needs them.
    pub(crate) fn of(&self, model: &Model) -> DecodeSettings {
        let side = |pixels: u32| NonZeroU32::new(pixels).unwrap_or(NonZeroU32::MIN);
        let (short_side, long_side) = (side(model.image_size()), side(THUMBNAIL_WIDTH));
        self.sized(PictureSize::Covering { short_side, long_side })
    }

    /// The settings in force, with frames of this size.
    pub(crate) fn sized(&self, picture_size: PictureSize) -> DecodeSettings {
        DecodeSettings {
            mode: self.mode,
            max_pixels: self.max_pixels,
            stalled_after: self.stalled_after,
            max_gap: self.max_gap,
            partial: self.partial,
            picture_size,
        }
    }
}

/// Non-negative seconds, as nanoseconds.
struct Seconds(u64);

impl std::str::FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds: f64 = text.parse().map_err(|_| "write seconds, such as 2.5")?;
        let in_range = (0.0..=86_400.0).contains(&seconds);
        in_range.then_some(Self((seconds * 1e9) as u64)).ok_or("choose 0 to 86400 seconds")
    }
}

/// An address to listen on; none where it is empty.
fn address(layers: &Layers, key: &str) -> Result<Option<SocketAddr>> {
    let address: String = layers.get(key)?;
    if address.is_empty() {
        return Ok(None);
    }
    let parsed = address.parse();
    parsed
        .map(Some)
        .with_context(|| format!("setting `{key}` is `{address}`: write it as 127.0.0.1:9091"))
}

fn non_empty(path: String) -> Option<PathBuf> {
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// The folder stated, or the place where the desktop's rules put such a folder (XDG Base Directory
/// Specification).
fn data_dir(stated: &str) -> Result<PathBuf> {
    if !stated.is_empty() {
        return std::path::absolute(stated).context("setting `data.dir` names no folder");
    }
    let base = shared_data()
        .context("neither HOME nor XDG_DATA_HOME is set: say where, with --data-dir")?;
    Ok(base.join("footage"))
}

fn shared_data() -> Option<PathBuf> {
    let of_variable = |name| {
        std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute())
    };
    let home = || of_variable("HOME").map(|home| home.join(".local/share"));
    of_variable("XDG_DATA_HOME").or_else(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(key: &str, value: &str) -> Result<Settings> {
        let mut layers = Layers::of_defaults(DEFAULTS).unwrap();
        layers.state_text("data.dir", "/data", Origin::Flag("--data-dir".into())).unwrap();
        layers.state_text(key, value, Origin::Flag("--set".into()))?;
        Settings::read(&layers)
    }

    #[test]
    fn the_defaults_are_sound() {
        let settings = stated("search.limit", "3").unwrap();
        assert_eq!(settings.data_dir, Path::new("/data"));
        assert_eq!(settings.search.limit, 3);
        assert_eq!(settings.search.gap_ns, None);
        assert_eq!(settings.model_dir, None);
    }

    fn is_folder(key: &str) -> bool {
        key.rsplit('.').next() == Some("dir")
    }

    #[test]
    fn no_setting_is_without_a_reader() {
        let layers = Layers::of_defaults(DEFAULTS).unwrap();
        for (key, setting) in layers.iter().filter(|(key, _)| !is_folder(key)) {
            // A value that no reader could accept is refused exactly where somebody reads it.
            let impossible = match setting.value {
                toml::Value::Boolean(_) => continue,
                toml::Value::Integer(_) => "-1",
                toml::Value::Float(_) => "nan",
                _ => "\u{1}",
            };
            assert!(stated(key, impossible).is_err(), "nobody reads `{key}`");
        }
    }

    #[test]
    fn every_file_in_configs_parses_and_repeats_no_default() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs");
        let defaults = Layers::of_defaults(DEFAULTS).unwrap();
        let tomls = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in tomls.filter(|path| path.extension().is_some_and(|e| e == "toml")) {
            let layers = defaults.clone().with_file(&path).unwrap();
            if path.ends_with("default.toml") {
                continue;
            }
            for ((key, default), (_, setting)) in defaults.iter().zip(layers.iter()) {
                let repeats = setting.origin != Origin::Default && setting.value == default.value;
                assert!(!repeats, "{} repeats the default of {key}", path.display());
            }
        }
    }

    #[test]
    fn what_the_elements_would_refuse_is_refused_here() {
        for (key, fits, beyond) in [
            ("decode.max_gap_s", "3600", "3600.5"),
            ("window.rate", "1/3600", "1/7200"),
            ("window.rate", "1000", "1001"),
        ] {
            assert!(stated(key, fits).is_ok(), "{key}={fits}");
            let error = stated(key, beyond).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("3600"), "{error}");
        }
    }

    #[test]
    fn the_gap_is_seconds_or_a_stride() {
        assert_eq!(stated("search.gap_s", "2.5").unwrap().search.gap_ns, Some(2_500_000_000));
        assert!(stated("search.gap_s", "-1").is_err());
    }
}
