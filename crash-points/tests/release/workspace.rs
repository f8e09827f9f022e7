//! A workspace of a few small packages, built by cargo without a network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs};

/// There is one workspace, which is kept between runs to reuse its build. The holder of the lock has exclusive
/// access.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Workspace {
    root: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Workspace {
    pub(crate) fn open() -> Self {
        // A test that failed while it held the lock left nothing that the next one does not rewrite.
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let workspace = Self {
            root: Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-workspace"),
            _alone: alone,
        };
        workspace.write_manifests();
        workspace.share_lock_file();
        workspace
    }

    fn write_manifests(&self) {
        let package = |name: &str, more: &str| {
            let package = format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2021\"\n{more}");
            self.write(&format!("{name}/Cargo.toml"), &package);
            self.write_if_missing(&format!("{name}/src/lib.rs"), "");
        };
        let here = env!("CARGO_MANIFEST_DIR");
        let members = r#"["harness", "job", "scripted", "simulator", "timed"]"#;
        self.write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"2\"\nmembers = {members}\n"),
        );
        let points = format!("crash-points = {{ path = {here:?} }}\n");
        let enabled = format!("crash-points = {{ path = {here:?}, features = [\"enabled\"] }}\n");
        let harness = "harness = { path = \"../harness\" }\n";
        package("harness", &format!("[dependencies]\n{enabled}"));
        package("job", &format!("[dependencies]\n{points}[dev-dependencies]\n{harness}"));
        package("simulator", &format!("[dependencies]\n{harness}"));
        package(
            "scripted",
            &format!("[dependencies]\n{points}[build-dependencies]\n{harness}"),
        );
        package("timed", &format!("[dependencies]\n{points}"));
        self.write("harness/src/lib.rs", "pub use crash_points;\n");
        self.write(
            "scripted/build.rs",
            "fn main() { assert!(harness::crash_points::ENABLED); }\n",
        );
    }

    /// Only the versions of the surrounding workspace's lock file are known to be downloaded.
    fn share_lock_file(&self) {
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        if let Some(shared) = above
            .map(|folder| folder.join("Cargo.lock"))
            .find(|file| file.is_file())
        {
            let own = self.root.join("Cargo.lock");
            if !own.exists() {
                fs::copy(shared, own).expect("the lock file can be copied");
            }
        }
    }

    /// Writes a file unless it is up to date, because cargo compares modification times.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.root.join(path);
        if fs::read_to_string(&path).is_ok_and(|present| present == content) {
            return;
        }
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
        fs::write(path, content).expect("the file can be written");
    }

    fn write_if_missing(&self, path: &str, content: &str) {
        if !self.root.join(path).exists() {
            self.write(path, content);
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("CARGO_BUILD_JOBS", "1");
        // The settings of the outer build must not affect the inner one.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
        ] {
            cargo.env_remove(name);
        }
        let (command, rest) = arguments.split_first().expect("a command");
        cargo
            .args([command, "--offline"])
            .args(rest)
            .output()
            .expect("cargo can be started")
    }

    /// Returns both outputs of a cargo command that must succeed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.cargo(arguments);
        assert!(
            output.status.success(),
            "cargo {arguments:?} failed:\n{}",
            text(&output)
        );
        text(&output)
    }

    /// Returns both outputs of a cargo command that must fail.
    pub(crate) fn fail(&self, arguments: &[&str]) -> String {
        let output = self.cargo(arguments);
        assert!(
            !output.status.success(),
            "cargo {arguments:?} succeeded:\n{}",
            text(&output)
        );
        text(&output)
    }

    pub(crate) fn assembly(&self, package: &str) -> String {
        self.assembly_with(package, &[])
    }

    /// The assembly of a package's library in a release build.
    pub(crate) fn assembly_with(&self, package: &str, more: &[&str]) -> String {
        let deps = self.root.join("target/release/deps");
        let is_ours = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{package}-")) && name.ends_with(".s")
        };
        let ours = || {
            let files = fs::read_dir(&deps)
                .into_iter()
                .flatten()
                .map(|entry| entry.expect("readable").path());
            files.filter(|path| is_ours(path)).collect::<Vec<_>>()
        };
        // Remove old files so that exactly one is found, and the state that would make cargo skip the build.
        ours().iter().for_each(|old| fs::remove_file(old).expect("removable"));
        self.succeed(&["clean", "--release", "-p", package]);
        let mut arguments = vec!["rustc", "--release", "--lib", "-p", package];
        arguments.extend(more);
        arguments.extend(["--", "--emit", "asm", "-C", "codegen-units=1"]);
        self.succeed(&arguments);
        let [file] = &ours()[..] else {
            panic!("one file of assembly, not {:?}", ours())
        };
        fs::read_to_string(file).expect("assembly is text")
    }

    fn binary(&self, name: &str) -> PathBuf {
        self.root
            .join("target/release")
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    pub(crate) fn binary_mentions(&self, name: &str, text: &str) -> bool {
        let bytes = fs::read(self.binary(name)).expect("the binary was built");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The output of the release binary.
    pub(crate) fn run(&self, name: &str) -> String {
        let output = Command::new(self.binary(name)).output().expect("the binary was built");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).expect("text")
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
