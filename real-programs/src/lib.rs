//! Finds the migrations of the programs, which stand in their published packages. See `README.md` for the results.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// The statements of all migrations of a dependency, in order.
///
/// # Panics
/// If there are none.
pub fn migrations_of(package: &str, folder: &str) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let manifest = packages.iter().find(|known| known["name"] == package).expect("it is a dependency");
    let manifest = Path::new(manifest["manifest_path"].as_str().expect("a path"));
    let folder = manifest.parent().expect("a file is in a folder").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { entry.path().join("up.sql") } else { entry.path() })
        .filter(|path| path.to_string_lossy().ends_with("up.sql"))
        .collect();
    files.sort();
    let read = |path| fs::read_to_string(path).expect("a migration can be read");
    let statements: String = files.into_iter().map(read).collect();
    assert!(!statements.is_empty(), "there are no migrations in {}", folder.display());
    statements
}
