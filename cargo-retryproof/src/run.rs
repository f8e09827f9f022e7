//! Runs `cargo test`, for all checks or for one scenario.

use std::io::{self, Write};
use std::process::{self, Command, Stdio};
use std::time::SystemTime;

use crate::failure::{Exit, Failure};
use crate::project::{Project, cargo};
use crate::text::{in_one_line, visible};
use crate::{results, step, table};

/// The settings of all checks of a run.
pub(crate) struct Settings {
    pub(crate) deviations: Option<usize>,
    pub(crate) shard: Option<String>,
    pub(crate) is_json: bool,
}

/// Runs `cargo test`, and lists the checks.
pub(crate) fn test(settings: &Settings, arguments: &[String], out: &mut impl Write) -> Result<Exit, Failure> {
    let project = Project::here()?;
    if !builds(arguments, settings.is_json)? {
        return Ok(Exit::BuildFailed);
    }
    let run = new_run();
    let mut command = tests(&project, &run, arguments, settings.is_json);
    if let Some(most) = settings.deviations {
        command.env("RETRYPROOF_DEVIATIONS", most.to_string());
    }
    if let Some(shard) = &settings.shard {
        command.env("RETRYPROOF_SHARD", shard);
    }
    let passed = status(&mut command)?;
    let results = results::of(&project, &run);
    if results.is_empty() {
        let folder = project.results();
        let mut err = io::stderr();
        writeln!(
            err,
            "warning: no check has left a result in {}; either no test of retryproof ran, or the folder cannot be written",
            folder.display()
        )?;
    }
    if !results.is_empty() || settings.is_json {
        table::print(&results, settings.is_json, out)?;
    }
    Ok(match passed && results.iter().all(|result| result.passes) {
        true => Exit::Green,
        false => Exit::Violations,
    })
}

/// Finds the test of a scenario, and runs that scenario.
pub(crate) fn replay(
    scenario: &str,
    step: bool,
    arguments: &[String],
    out: &mut impl Write,
) -> Result<Exit, Failure> {
    let test = scenario.split_whitespace().next().unwrap_or_default();
    if test.is_empty() || test.contains('=') {
        return Err(Failure::Usage(
            "a scenario begins with the name of its test; paste the whole line that the report prints"
                .to_owned(),
        ));
    }
    let project = Project::here()?;
    let known = results::latest(&project, test);
    let mut all = arguments.to_vec();
    match known.as_ref().and_then(|known| known.libtest.as_deref().map(|name| (known, name))) {
        Some((known, name)) => {
            let package = known.package.as_deref().unwrap_or_default();
            all.splice(0..0, project.selection(package, &known.binary));
            if !all.iter().any(|argument| argument == "--") {
                all.extend(["--", "--exact", name].map(str::to_owned));
            }
        }
        // The test has never run here. Its name is usually that of the function, followed by `#2` for a second check.
        None if !all.iter().any(|argument| argument == "--") => {
            let name = test.rsplit_once('#').map_or(test, |(name, _)| name);
            all.extend(["--", name].map(str::to_owned));
        }
        None => {}
    }
    if !builds(&all, false)? {
        return Ok(Exit::BuildFailed);
    }
    let run = new_run();
    let mut command = tests(&project, &run, &all, false);
    command.env("RETRYPROOF_REPLAY", scenario);
    if step {
        // The timeline follows event by event.
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    status(&mut command)?;
    let results = results::of(&project, &run);
    let Some(result) = results.iter().find(|result| result.replayed && result.report.test == test) else {
        return Err(Failure::Nothing(format!(
            "no check is called `{}`, so nothing was replayed; `cargo retryproof list` shows the names",
            in_one_line(test)
        )));
    };
    if step {
        step::walk(result.timeline.as_deref().unwrap_or_default(), &mut io::stdin().lock(), out)?;
    }
    if let Some(reason) = &result.report.reason {
        writeln!(out, "{}", visible(reason))?;
    }
    for violation in &result.report.violations {
        writeln!(out, "{}: {}", violation.code, in_one_line(&violation.summary))?;
    }
    if result.passes {
        writeln!(out, "nothing is wrong in this scenario")?;
    }
    Ok(if result.passes { Exit::Green } else { Exit::Violations })
}

/// Builds the tests first: cargo has one exit code for a failed build and a failed test.
fn builds(arguments: &[String], is_quiet: bool) -> Result<bool, Failure> {
    let for_cargo = arguments.iter().take_while(|argument| *argument != "--");
    let mut command = cargo();
    command.arg("test").args(for_cargo).arg("--no-run");
    if is_quiet {
        command.stdout(Stdio::from(io::stderr()));
    }
    status(&mut command)
}

fn tests(project: &Project, run: &str, arguments: &[String], is_quiet: bool) -> Command {
    let mut command = cargo();
    command.arg("test").args(arguments);
    command.env("RETRYPROOF_RESULTS", project.results()).env("RETRYPROOF_RUN", run);
    if !arguments.iter().any(|argument| argument == "--no-fail-fast" || argument == "--") {
        // The list has all checks, also those of later test binaries.
        command.arg("--no-fail-fast");
    }
    if is_quiet {
        command.stdout(Stdio::from(io::stderr()));
    }
    command
}

fn status(command: &mut Command) -> Result<bool, Failure> {
    let status = command.status();
    let status = status.map_err(|error| Failure::NotStarted { program: "cargo".to_owned(), error })?;
    Ok(status.success())
}

/// Names a run by this process and the time.
#[expect(clippy::disallowed_methods, reason = "it only tells this run from others")]
fn new_run() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", process::id(), since.as_nanos())
}
