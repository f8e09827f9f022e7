//! Opens the page of the last run in a browser.

use std::env;
use std::io::{self, IsTerminal, Write};

use crate::failure::{Exit, Failure};
use crate::project::Project;

/// Opens the page, or prints its path if there is no browser.
pub(crate) fn open(project: &Project, print: bool, out: &mut impl Write) -> Result<Exit, Failure> {
    let page = project.page();
    if !page.is_file() {
        return Err(Failure::Nothing(format!(
            "{} does not exist: either no check ran, or all of them passed; `RETRYPROOF_HTML=all cargo retryproof test` also shows those that pass",
            page.display()
        )));
    }
    if print || !has_browser() || opener::open(&page).is_err() {
        writeln!(out, "{}", page.display())?;
    }
    Ok(Exit::Green)
}

/// Whether a person sits in front of a desktop.
fn has_browser() -> bool {
    let has_desktop = cfg!(any(windows, target_os = "macos"))
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| env::var_os(name).is_some_and(|set| !set.is_empty()));
    has_desktop && env::var_os("CI").is_none() && io::stdout().is_terminal()
}
