//! The cost of the attribute at compile time.

use std::fmt::Write;
use std::time::Instant;

use crate::workspace::Workspace;

const FUNCTIONS: usize = 100;

/// A hundred functions of about a dozen statements.
fn source(attribute: &str) -> String {
    let mut source = String::from("#![allow(unused_imports)]\nuse crash_points::crash_points;\n");
    for n in 0..FUNCTIONS {
        let body = format!(
            "{attribute}
            pub fn f{n}(rows: &[u32], sink: &mut Vec<String>) -> Result<u32, std::fmt::Error> {{
                let mut sum = {n};
                for row in rows {{
                    if *row > 3 {{
                        sum += row;
                        sink.push(row.to_string());
                    }} else {{
                        sink.clear();
                    }}
                }}
                let text = format!(\"{{sum}}\");
                sink.push(text);
                let last = sink.last().ok_or(std::fmt::Error)?;
                let length = last.len() as u32;
                sum += length;
                Ok(sum)
            }}\n"
        );
        source.write_str(&body).expect("a string can be written to");
    }
    source
}

/// The seconds that cargo needs once everything else is built: the minimum of five measurements.
#[expect(clippy::disallowed_methods, reason = "to take the time is what it is for")]
fn seconds(workspace: &Workspace, source: &str, arguments: &[&str]) -> f64 {
    let measure = |round: usize| {
        workspace.write("timed/src/lib.rs", &format!("{source}// {round}\n"));
        let start = Instant::now();
        workspace.succeed(arguments);
        start.elapsed().as_secs_f64()
    };
    measure(0);
    (1..=5).map(measure).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "measures: cargo test --release --test release -- --ignored --nocapture"]
#[expect(clippy::print_stdout, reason = "to print is what it is for")]
fn compile_time_of_a_hundred_functions() {
    let workspace = Workspace::open();
    let enabled = ["--features", "crash-points/enabled"];
    for command in ["check", "build"] {
        let base = vec![command, "-p", "timed"];
        let with_points = [&base[..], &enabled].concat();
        println!("cargo {command}, {FUNCTIONS} functions:");
        println!(
            "  plain                 {:.3} s",
            seconds(&workspace, &source(""), &base)
        );
        println!(
            "  attribute, points off {:.3} s",
            seconds(&workspace, &source("#[crash_points]"), &base)
        );
        println!(
            "  plain, points on      {:.3} s",
            seconds(&workspace, &source(""), &with_points)
        );
        println!(
            "  attribute, points on  {:.3} s",
            seconds(&workspace, &source("#[crash_points]"), &with_points)
        );
    }
}
