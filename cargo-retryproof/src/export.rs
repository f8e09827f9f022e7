//! The checks of a run in the formats of other tools: JUnit XML, SARIF 2.1.0, and the code quality report of GitLab.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::project::Project;
use crate::results::{TestResult, Violation};

/// A format of another tool.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    Junit,
    Sarif,
    Gitlab,
}

/// Prints the results in a format.
pub(crate) fn export(
    results: &[TestResult],
    project: &Project,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let findings = || findings(results, &project.workspace_root);
    match format {
        Format::Junit => write!(out, "{}", junit(results))?,
        Format::Sarif => write_json(&sarif(&findings()), out)?,
        Format::Gitlab => write_json(&gitlab(&findings()), out)?,
    }
    Ok(())
}

fn write_json(value: &Value, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Something that is wrong, at a place.
struct Finding<'r> {
    code: &'r str,
    title: String,
    detail: String,
    /// The file, relative to the workspace, and the line.
    place: Option<(String, u64)>,
    /// What stays the same when lines move.
    identity: String,
}

/// Returns the violations of checks that fail, and the reasons of those that fail otherwise.
fn findings<'r>(results: &'r [TestResult], root: &Path) -> Vec<Finding<'r>> {
    let mut findings = Vec::new();
    for result in results.iter().filter(|result| !result.passes) {
        let report = &result.report;
        let of_violation = |violation: &'r Violation| Finding {
            code: &violation.code,
            title: violation.summary.clone(),
            detail: format!(
                "{}: {}. Replay: cargo retryproof replay '{}'. Help: {}",
                report.test,
                violation.cause.join("; "),
                violation.scenario,
                violation.help
            ),
            place: violation.file_and_line().map(|(file, line)| (relative(file, result, root), line.max(1))),
            identity: format!("{} {} {}", result.binary, violation.code, violation.scenario),
        };
        findings.extend(report.violations.iter().map(of_violation));
        if report.violations.is_empty() {
            let title = report.reason.clone().unwrap_or_else(|| report.verdict.clone());
            findings.push(Finding {
                code: result.code.as_deref().unwrap_or("RP0094"),
                detail: format!("{}: {title}", report.test),
                title,
                place: None,
                identity: format!("{} {} {}", result.binary, report.test, report.verdict),
            });
        }
    }
    findings
}

/// Returns a path relative to the workspace. The compiler names files relative to the workspace, or absolutely.
fn relative(file: &str, result: &TestResult, root: &Path) -> String {
    let path = Path::new(file);
    let in_package = result.folder.as_ref().map(|folder| folder.join(path)).filter(|path| path.is_file());
    let whole = match (root.join(path), in_package) {
        (in_workspace, Some(in_package)) if !in_workspace.is_file() => in_package,
        (in_workspace, _) => in_workspace,
    };
    whole.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn junit(results: &[TestResult]) -> String {
    let mut suites: BTreeMap<String, Vec<&TestResult>> = BTreeMap::new();
    for result in results {
        let package = result.package.as_ref().map(|package| format!("{package}::")).unwrap_or_default();
        suites.entry(format!("{package}{}", result.binary)).or_default().push(result);
    }
    let counts = |results: &[&TestResult]| {
        let failed = results.iter().filter(|result| !result.passes).count();
        let milliseconds: u64 = results.iter().map(|result| result.measured.milliseconds).sum();
        format!(
            "tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{}\"",
            results.len(),
            seconds(milliseconds)
        )
    };
    let all: Vec<_> = results.iter().collect();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"retryproof\" {}>\n",
        counts(&all)
    );
    for (suite, results) in suites {
        let suite = escaped(&suite);
        xml.push_str(&format!("  <testsuite name=\"{suite}\" {}>\n", counts(&results)));
        for result in results {
            let (name, time) = (escaped(&result.report.test), seconds(result.measured.milliseconds));
            xml.push_str(&format!("    <testcase name=\"{name}\" classname=\"{suite}\" time=\"{time}\""));
            if result.passes {
                xml.push_str("/>\n");
                continue;
            }
            let first =
                result.report.violations.first().map(|first| format!("{}: {}", first.code, first.summary));
            let message = first.or(result.report.reason.clone()).unwrap_or_default();
            let kind = escaped(result.code.as_deref().unwrap_or(&result.report.verdict));
            let text = escaped(result.text.as_deref().unwrap_or_default());
            let message = escaped(&message);
            xml.push_str(&format!(
                ">\n      <failure message=\"{message}\" type=\"{kind}\">{text}</failure>\n    </testcase>\n"
            ));
        }
        xml.push_str("  </testsuite>\n");
    }
    xml + "</testsuites>\n"
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

/// Escapes markup. XML 1.0 has no way to write most control characters, so they are shown as `\u{1b}`.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' => xml.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => xml.extend(c.escape_unicode()),
            c => xml.push(c),
        }
    }
    xml
}

fn sarif(findings: &[Finding<'_>]) -> Value {
    let codes: BTreeMap<&str, ()> = findings.iter().map(|finding| (finding.code, ())).collect();
    let codes: Vec<&str> = codes.into_keys().collect();
    let rules = codes.iter().map(|code| {
        let uri = format!(
            "https://github.com/retryproof/retryproof/blob/main/guide/src/violations.md#{}",
            code.to_lowercase()
        );
        json!({ "id": code, "helpUri": uri, "shortDescription": { "text": crate::explain::title(code) } })
    });
    let results = findings.iter().map(|finding| {
        let places = finding.place.iter().map(|(file, line)| {
            json!({ "physicalLocation": {
                "artifactLocation": { "uri": uri(file), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": line },
            } })
        });
        json!({
            "ruleId": finding.code,
            "ruleIndex": codes.iter().position(|code| *code == finding.code),
            "level": "error",
            "message": { "text": format!("{}\n{}", finding.title, finding.detail) },
            "locations": places.collect::<Vec<_>>(),
            "partialFingerprints": { "retryproof/v1": fingerprint(&finding.identity) },
        })
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "retryproof",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://github.com/retryproof/retryproof",
                "rules": rules.collect::<Vec<_>>(),
            } },
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn gitlab(findings: &[Finding<'_>]) -> Value {
    let entries = findings.iter().map(|finding| {
        // GitLab requires a place.
        let (file, line) = finding.place.clone().unwrap_or_else(|| ("Cargo.toml".to_owned(), 1));
        json!({
            "description": format!("{}: {}", finding.code, finding.title),
            "check_name": finding.code,
            "fingerprint": fingerprint(&finding.identity),
            "severity": "major",
            "location": { "path": file, "lines": { "begin": line } },
        })
    });
    Value::Array(entries.collect())
}

/// Escapes a path for a URI (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            true => uri.push(byte as char),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// The 64-bit hash FNV-1a (Fowler, Noll, Vo, 1991), which is the same on all machines.
fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        assert_eq!(escaped("</a>&\"\u{1b}\n"), "&lt;/a&gt;&amp;&quot;\\u{1b}&#10;");
        assert_eq!(uri("src/my file#1.rs"), "src/my%20file%231.rs");
        // The value that the authors publish for `a`.
        assert_eq!(fingerprint("a"), "af63dc4c8601ec8c");
    }
}
