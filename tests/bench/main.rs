//! What a cluster sustains, against a real broker and the vector server of the tests:
//! `cargo bench -p footage-tests --bench cluster -- WHAT`, where WHAT is
//!
//! - `through [RECORDS]`: what one indexer brings in through Kafka, and what a loop that only reads does;
//! - `memory [RECORDS]`: the same through the topic in memory;
//! - `latency [SECONDS]`: from publishing to searchable, at 100 records a second;
//! - `backlog [RECORDS]`: catching up, and the memory that it takes;
//! - `removal`: removing one source of many, and half of one.
//!
//! Each begins with nothing and ends in a minute or so on two cores, `backlog` in a few.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may say so bluntly")]

mod measures;
mod removal;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let what = arguments.next().unwrap_or_default();
    let count = arguments.next().map(|count| count.parse::<u64>().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match what.as_str() {
        "through" => runtime.block_on(measures::through(count.unwrap_or(20_000))),
        "memory" => runtime.block_on(measures::memory(count.unwrap_or(100_000))),
        "latency" => runtime.block_on(measures::latency(count.unwrap_or(20))),
        "backlog" => runtime.block_on(measures::backlog(count.unwrap_or(200_000))),
        "removal" => runtime.block_on(removal::run()),
        _ => println!("say what: through, memory, latency, backlog or removal"),
    }
}
