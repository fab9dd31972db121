//! flambeau's side of `cargo xtask bench`: times rows of work as it is asked to, in as many threads
//! as its argument says; with `cuda` in place of a number, the rows of `cargo xtask gpu-check`.
//!
//! Each line of standard input is the name of a row; the answer is a line of JSON with the seconds
//! of one call. A row is prepared when it is first asked for and dropped when another is, so that
//! the two sides of a comparison can take turns without holding each other's memory. `rows` lists
//! the rows with their arithmetic and traffic, `peak` measures what this machine reaches on both.
//! `torch_rows.py` beside this crate speaks the same protocol.
#![forbid(unsafe_code)]

mod peak;
mod rows;

use flambeau::prelude::*;
use rows::{Row, Work};
use serde_json::json;
use std::io::{BufRead, Write};
use std::time::Instant;

/// How long a sample should take; a row that takes longer is called once a sample.
const SAMPLE_SECONDS: f64 = 0.06;

/// A row that is being timed.
struct Current {
    name: String,
    work: Work,
    calls: usize,
}

impl Current {
    /// Prepares and warms a row, and finds out how many calls make a sample.
    fn new(row: &Row, wait: Wait) -> Result<Current> {
        manual_seed(0);
        let mut work = (row.prepare)()?;
        let mut calls = 1;
        for _ in 0..3 {
            calls = 1;
            loop {
                let seconds = time(&mut work, calls, wait)? * calls as f64;
                if seconds > SAMPLE_SECONDS / 4.0 {
                    calls = ((SAMPLE_SECONDS / seconds * calls as f64) as usize).max(1);
                    break;
                }
                calls *= 4;
            }
        }
        Ok(Current {
            name: row.name.clone(),
            work,
            calls,
        })
    }
}

/// Waits for what calls have started.
type Wait = fn() -> Result<()>;

/// Seconds of one call.
fn time(work: &mut Work, calls: usize, wait: Wait) -> Result<f64> {
    wait()?;
    let start = Instant::now();
    for _ in 0..calls {
        work()?;
    }
    wait()?;
    Ok(start.elapsed().as_secs_f64() / calls as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let (rows, wait): (Vec<Row>, Wait) = if argument == "cuda" {
        (rows::cuda::all(rows::cuda::Size { full: true }), || {
            flambeau::cuda::synchronize(0)
        })
    } else {
        flambeau_cpu::threads::set_num_threads(argument.parse().unwrap_or(1));
        (rows::all(), || Ok(()))
    };
    let mut current: Option<Current> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.as_str() {
            "rows" => json!(
                rows.iter()
                    .map(|r| json!({"name": r.name, "flop": r.flop, "read": r.read, "written": r.written, "also": r.also}))
                    .collect::<Vec<_>>()
            ),
            "peak" => peak::measure(),
            name => {
                if current.as_ref().is_none_or(|c| c.name != name) {
                    drop(current.take());
                    let row = rows.iter().find(|r| r.name == name);
                    current = Some(Current::new(
                        row.ok_or_else(|| format!("there is no row {name}"))?,
                        wait,
                    )?);
                }
                let Some(row) = &mut current else { continue };
                json!({"seconds": time(&mut row.work, row.calls, wait)?, "peak_bytes": peak::resident()})
            }
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
