//! Every command that tests and programs of the house start is there on a bare system, once the
//! packages of `.ci/packages.sh` are installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A command and the package that brings it; none where every Debian and Ubuntu has it.
const COMMANDS: &[(&str, Option<&str>)] = &[
    ("bash", None),
    ("ffmpeg", Some("ffmpeg")),
    ("ffprobe", Some("ffmpeg")),
    ("fsfreeze", None),
    ("grep", None),
    ("gst-inspect-1.0", Some("gstreamer1.0-tools")),
    ("gst-launch-1.0", Some("gstreamer1.0-tools")),
    ("kill", Some("procps")),
    ("mkfifo", None),
    ("mkfs.ext4", None),
    ("mount", None),
    ("python3", Some("python3-venv")),
    ("setpriv", None),
    ("sh", None),
    ("umount", None),
    ("vlc", Some("vlc-bin")),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What stands between the quotes behind each `Command::new(`.
fn started() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(footage_tests::root(), &mut files);
    let own = Path::new(file!()).file_name();
    let texts = files.iter().filter(|path| path.file_name() != own);
    texts
        .flat_map(|path| {
            let text = fs_err::read_to_string(path).unwrap();
            let behind = text.split("Command::new(\"").skip(1);
            behind.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

fn packages() -> BTreeSet<String> {
    let script = fs_err::read_to_string(footage_tests::root().join(".ci/packages.sh")).unwrap();
    let lists = script.split("_PACKAGES=(").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(names, _)| names.split_whitespace().map(str::to_owned)).collect()
}

#[test]
fn every_command_that_is_started_comes_with_a_package_that_is_installed() {
    let started = started();
    assert!(started.contains("kill") && started.contains("ffmpeg"), "{started:?}");
    for command in &started {
        assert!(COMMANDS.iter().any(|(name, _)| name == command), "who brings `{command}`?");
    }
    let packages = packages();
    for (command, package) in COMMANDS {
        let is_installed = package.is_none_or(|package| packages.contains(package));
        assert!(is_installed, "`{command}` needs {package:?}, which .ci/packages.sh lacks");
    }
}
