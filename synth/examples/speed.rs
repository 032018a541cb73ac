use footage_synth::*;
use rand::SeedableRng;
use std::time::Instant;
fn main() {
    let t = Instant::now();
    let world = World::load().unwrap();
    println!("load {:?}", t.elapsed());
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let v = View::square(64, Fit::Crop);
    let t = Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(world.sample_image(&mut rng, Split::Train, v));
    }
    println!("images/s {}", 1000.0 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    for _ in 0..200 {
        std::hint::black_box(world.sample_clip(&mut rng, Split::Train, v, 8, 2.0));
    }
    println!("clip frames/s {}", 1600.0 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    for _ in 0..10 {
        std::hint::black_box(world.sample_clip(&mut rng, Split::Train, View::CAMERA, 15, 15.0));
    }
    println!("320x240 frames/s {}", 150.0 / t.elapsed().as_secs_f64());
    let t = Instant::now();
    for _ in 0..2000 {
        std::hint::black_box(world.captions_corpus(1, 1));
    }
    println!("captions/s {}", 2000.0 / t.elapsed().as_secs_f64());
}
