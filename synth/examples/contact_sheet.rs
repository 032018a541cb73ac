//! Draws what the world looks like: every thing, every place, pictures as trained on, and clips.
//!
//! `cargo run --release -p footage-synth --example contact_sheet -- OUT.png`

use std::error::Error;

use footage_synth::{Counterpart, Fit, LabelledImage, Scene, Split, View, World};
use image::{RgbImage, imageops};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: contact_sheet OUT.png")?;
    let world = World::load()?;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let small = View::square(64, Fit::Crop);

    let mut tiles = Vec::new();
    for (id, thing) in world.vocabulary().things().iter().enumerate() {
        println!("{id}: {}", thing.name);
        let (width, height, rgb) = world.portrait(id, View::square(72, Fit::Crop));
        tiles.push(tile(width, height, rgb)?);
    }
    for scene in Scene::ALL {
        for _ in 0..2 {
            let (width, height, rgb) = world.landscape(scene, View::new(144, 108), &mut rng);
            tiles.push(tile(width, height, rgb)?);
        }
    }
    for view in [View::new(216, 162), small] {
        for _ in 0..24 {
            let LabelledImage { rgb, width, height, caption, .. } =
                world.sample_image(&mut rng, Split::Train, view);
            println!("{caption}");
            tiles.push(enlarged(tile(width, height, rgb)?));
        }
    }
    let mut clips = Vec::new();
    for _ in 0..14 {
        clips.push(world.sample_clip(&mut rng, Split::Train, small, 8, 2.0));
    }
    for counterpart in [Counterpart::Direction, Counterpart::Order] {
        let (one, two) = world.sample_clip_pair(&mut rng, Split::Train, counterpart, small, 8, 2.0);
        clips.extend([one, two]);
    }
    for clip in clips {
        println!("{:?} {:?}", clip.captions, clip.event_span);
        for rgb in clip.frames {
            tiles.push(enlarged(tile(clip.width, clip.height, rgb)?));
        }
    }
    sheet(&tiles, 1160).save(&out)?;
    Ok(())
}

fn tile(width: usize, height: usize, rgb: Vec<u8>) -> Result<RgbImage, Box<dyn Error>> {
    Ok(RgbImage::from_raw(u32::try_from(width)?, u32::try_from(height)?, rgb)
        .ok_or("a picture of the wrong length")?)
}

/// Twice as large, pixels kept, where it is as small as the model sees it.
fn enlarged(tile: RgbImage) -> RgbImage {
    if tile.width() > 64 {
        return tile;
    }
    imageops::resize(&tile, 2 * tile.width(), 2 * tile.height(), imageops::FilterType::Nearest)
}

/// Tiles in rows of at most `width` pixels.
fn sheet(tiles: &[RgbImage], width: u32) -> RgbImage {
    const GAP: u32 = 4;
    let mut places = Vec::with_capacity(tiles.len());
    let (mut x, mut y, mut tallest) = (GAP, GAP, 0);
    for tile in tiles {
        if x + tile.width() + GAP > width || (tallest != 0 && tile.height() != tallest) {
            (x, y, tallest) = (GAP, y + tallest + GAP, 0);
        }
        places.push((x, y));
        x += tile.width() + GAP;
        tallest = tallest.max(tile.height());
    }
    let mut sheet = RgbImage::from_pixel(width, y + tallest + GAP, image::Rgb([255; 3]));
    for (tile, (x, y)) in tiles.iter().zip(places) {
        imageops::replace(&mut sheet, tile, x.into(), y.into());
    }
    sheet
}
