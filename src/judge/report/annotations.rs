//! Renders violations as workflow commands, which GitHub shows at the lines of a pull request.

use super::{Report, words};

/// GitHub shows no more than this for each step.
const MOST: usize = 10;

/// Returns one line for each violation of a test that fails, or for its verdict.
pub(crate) fn annotations(report: &Report) -> Vec<String> {
    let command = |place: Option<&str>, title: &str, text: &str| {
        let place = place.and_then(|place| place.rsplit_once(':'));
        let place = place.map(|(file, line)| format!("file={},line={line},", property(file)));
        format!("::error {}title={}::{}", place.unwrap_or_default(), property(title), message(text))
    };
    let violations = report.violations.iter().take(MOST).map(|violation| {
        let title = format!("{}: {}", violation.code, violation.summary);
        let (scenario, replay) = report.replay_line(&violation.scenario);
        let text = format!("{}\n{}\n{scenario} {replay}", report.test, words::causes(&violation.cause));
        command(violation.place.as_deref(), &title, &text)
    });
    let verdict = report.reason.iter().filter(|_| report.violations.is_empty()).map(|reason| {
        let place = report.showing.as_ref().and_then(|showing| showing.place());
        command(place.as_deref(), &report.test, reason)
    });
    violations.chain(verdict).collect()
}

/// Escapes the message of a command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_place_in_a_command() {
        assert_eq!(message("100%::\r\nnext"), "100%25::%0D%0Anext");
        assert_eq!(property("a,line=1::b%2C\n"), "a%2Cline=1%3A%3Ab%252C%0A");
    }
}
