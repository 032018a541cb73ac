//! Runs the training driver until the application has a verb for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[allow(unreachable_pub, reason = "written for the application, which will reach it")]
#[path = "../../app/src/train_mini.rs"]
mod train_mini;
#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: train_mini::Args,
}
fn main() -> anyhow::Result<()> {
    train_mini::run(&<Cli as clap::Parser>::parse().args)
}
