//! Trains the bundled answerer, as `train_mini` trains the bundled model.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[allow(unreachable_pub, reason = "written for the application, which will reach it")]
#[path = "../../app/src/train_answerer.rs"]
mod train_answerer;
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: train_answerer::Args,
}
fn main() -> anyhow::Result<()> {
    train_answerer::run(&<Cli as clap::Parser>::parse().args)
}
