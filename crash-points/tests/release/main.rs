//! Which builds have points: builds of a small workspace next to this one.

mod workspace;
mod compile_time;

use workspace::Workspace;

/// The code under test.
const JOB: &str = r#"
use crash_points::crash_points;

pub struct Order { pub charges: u32, pub paid: bool }

#[crash_points]
#[inline(never)]
pub fn complete(order: &mut Order, charge: &dyn Fn(u32) -> Result<u32, String>) -> Result<u32, String> {
    if order.paid {
        return Ok(0);
    }
    let total = [1, 2, 3].iter().map(|price| { let taxed = price * 2; taxed }).sum();
    let receipt = charge(total)?;
    order.charges += 1;
    order.paid = true;
    Ok(receipt)
}

#[crash_points]
impl Order {
    #[inline(never)]
    pub async fn wait(&mut self, turns: u32) -> u32 {
        for turn in 0..turns {
            std::future::ready(turn).await;
            self.charges += turn;
        }
        self.charges
    }
}

/// Gives the code of the async method a place in the library.
#[inline(never)]
pub fn poll(order: &mut Order) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(std::pin::pin!(order.wait(3)), &mut cx).is_ready()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    #[test]
    fn points_are_on_in_unit_tests() {
        thread_local! { static HEARD: Cell<u32> = const { Cell::new(0) } }
        const { assert!(crash_points::ENABLED) }
        harness::crash_points::listen(Some(|_| HEARD.set(HEARD.get() + 1)));
        super::complete(&mut super::Order { charges: 0, paid: true }, &|_| Ok(1)).unwrap();
        assert_eq!(HEARD.get(), 2);
    }
}
"#;

const INTEGRATION: &str = r#"
use std::cell::Cell;

#[test]
fn points_are_on_in_integration_tests() {
    thread_local! { static HEARD: Cell<u32> = const { Cell::new(0) } }
    const { assert!(crash_points::ENABLED) }
    harness::crash_points::listen(Some(|_| HEARD.set(HEARD.get() + 1)));
    job::complete(&mut job::Order { charges: 0, paid: true }, &|_| Ok(1)).unwrap();
    assert_eq!(HEARD.get(), 2);
}
"#;

const MAIN: &str = r#"
fn main() {
    let mut order = job::Order { charges: 0, paid: false };
    job::complete(&mut order, &|total| Ok(total)).unwrap();
    println!("points: {}, done: {}", crash_points::ENABLED, job::poll(&mut order));
}
"#;

const SHIPPED: &str = r#"
const _: () = assert!(!crash_points::ENABLED, "built with crash points in it");
"#;

/// The original sources, with `complete` and `wait` annotated.
fn annotated() -> Workspace {
    let workspace = Workspace::open();
    workspace.write("job/src/lib.rs", JOB);
    workspace.write("job/src/main.rs", MAIN);
    workspace.write("job/tests/integration.rs", INTEGRATION);
    workspace
}

#[test]
fn a_release_build_is_that_of_the_plain_function() {
    let workspace = annotated();
    let annotated = workspace.assembly("job");
    assert!(
        annotated.contains("complete") && annotated.contains("poll"),
        "the functions are in it"
    );

    workspace.write(
        "job/src/lib.rs",
        &JOB.replace("#[crash_points]", "// an attribute was here"),
    );
    let plain = workspace.assembly("job");
    assert!(annotated == plain, "the machine code differs");
    assert!(!annotated.to_lowercase().contains("crash_points"), "a symbol is left");

    // The comparison is not vacuous: with points, the difference is large.
    workspace.write("job/src/lib.rs", JOB);
    let enabled = workspace.assembly_with("job", &["--features", "crash-points/enabled"]);
    assert!(enabled != plain && enabled.to_lowercase().contains("crash_points"));
}

#[test]
fn a_release_binary_has_no_trace_of_points() {
    let workspace = annotated();
    workspace.succeed(&["build", "--release", "-p", "job"]);
    assert!(!workspace.binary_mentions("job", "crash_points"));
    assert!(!workspace.binary_mentions("job", "__CRASH_POINTS"));
    assert_eq!(workspace.run("job"), "points: false, done: true\n");
}

#[test]
fn in_tests_points_are_on() {
    let workspace = annotated();
    let said = workspace.succeed(&["test", "-p", "job"]);
    // A part: the rest of the output has paths and times.
    for test in [
        "tests::points_are_on_in_unit_tests",
        "points_are_on_in_integration_tests",
    ] {
        assert!(
            said.contains(&format!("test {test} ... ok")),
            "{test} did not run:\n{said}"
        );
    }
}

#[test]
fn the_leak_a_workspace_build_with_a_member_that_needs_the_harness() {
    let workspace = annotated();
    workspace.succeed(&["build", "--release", "--workspace"]);
    assert_eq!(workspace.run("job"), "points: true, done: true\n");
    assert!(
        workspace.binary_mentions("job", "__CRASH_POINTS"),
        "else the test above shows nothing"
    );

    // `ENABLED` shows it, at compile time if wanted.
    workspace.write("job/src/main.rs", &format!("{SHIPPED}{MAIN}"));
    let said = workspace.fail(&["build", "--release", "--workspace"]);
    // A part: the rest of the output is the compiler's.
    assert!(said.contains("built with crash points in it"), "{said}");
    workspace.succeed(&["build", "--release", "-p", "job"]);
    assert_eq!(workspace.run("job"), "points: false, done: true\n");
}

#[test]
fn a_build_script_with_the_harness_turns_nothing_on() {
    // The attribute is then built with `enabled`, but the crate that it calls is not.
    let workspace = annotated();
    workspace.write("job/src/main.rs", "fn main() {}");
    workspace.write("scripted/src/main.rs", &MAIN.replace("job::", "scripted::"));
    workspace.write("scripted/src/lib.rs", JOB);
    workspace.succeed(&["build", "--release", "-p", "scripted"]);
    assert_eq!(workspace.run("scripted"), "points: false, done: true\n");
    assert!(
        !workspace.binary_mentions("scripted", "__CRASH_POINTS"),
        "the empty calls were not optimised away"
    );
}
