//! Frames out of `GStreamer`'s memory.

use footage_clip::RgbFrame;
use gst_video::prelude::*;

/// Copies a frame out of its buffer, without the padding of its rows.
pub(crate) fn pixels(
    buffer: &gst::BufferRef,
    info: &gst_video::VideoInfo,
) -> Result<RgbFrame, PixelsError> {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|_| PixelsError::Unmapped)?;
    let stride = frame.plane_stride()[0] as usize;
    let row = frame.width() as usize * 3;
    let data = frame.plane_data(0).map_err(|_| PixelsError::Unmapped)?;
    let packed: Vec<u8> = data
        .chunks(stride)
        .take(frame.height() as usize)
        .flat_map(|line| &line[..row.min(line.len())])
        .copied()
        .collect();
    Ok(RgbFrame::try_new(frame.width(), frame.height(), packed)?)
}

/// A buffer that is no frame of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PixelsError {
    #[error("a frame is not in plain memory")]
    Unmapped,
    #[error(transparent)]
    Size(#[from] footage_clip::FrameSizeError),
}
