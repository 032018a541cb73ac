//! From what a person names to the files that are meant.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// Extensions of files that a walk through a directory takes for video, in lower case.
///
/// A file named explicitly, or matched by a pattern, is taken whatever its name.
const VIDEO_EXTENSIONS: &[&str] = &[
    "264", "265", "3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "gxf", "h264", "h265",
    "hevc", "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4",
    "mpeg", "mpg", "mts", "mxf", "nut", "obu", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob",
    "webm", "wmv", "y4m",
];

/// A file to read, by its absolute path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSource {
    path: PathBuf,
}

impl FileSource {
    /// Makes the path absolute; it must name a regular file, or a link to one.
    pub fn try_new(path: &Path) -> Result<Self, DiscoverError> {
        // Not canonicalised: a person finds the file under the name they gave it.
        let absolute = std::path::absolute(path)
            .map_err(|cause| DiscoverError::Unreadable { path: path.to_owned(), cause })?;
        let kind = fs::metadata(&absolute)
            .map_err(|cause| DiscoverError::of_io(&absolute, cause))?
            .file_type();
        if kind.is_dir() {
            return Err(DiscoverError::NotAFile { path: absolute, is: "a directory" });
        }
        if !kind.is_file() {
            return Err(DiscoverError::NotAFile { path: absolute, is: "a device, pipe or socket" });
        }
        Ok(Self { path: absolute })
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name, for people.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// Why an argument, or a place below it, gives no files.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// Nothing has this name.
    #[error("`{}` does not exist: check the path", path.display())]
    Missing {
        /// As it was given.
        path: PathBuf,
    },
    /// It has bytes without end, or is not readable as a stream of them.
    #[error("`{}` is {is}: only regular files can be indexed", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        is: &'static str,
    },
    /// The operating system refused.
    #[error("`{}` cannot be read: {cause}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Its reason.
        cause: io::Error,
    },
    /// A pattern that means nothing.
    #[error("`{pattern}` is no valid pattern: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: glob::PatternError,
    },
    /// A pattern or a directory without a single video in it.
    #[error("`{argument}` holds no video files")]
    Nothing {
        /// As it was given.
        argument: String,
    },
}

impl DiscoverError {
    fn of_io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Unreadable { path, cause },
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The files, each once, sorted by path.
    pub files: Vec<FileSource>,
    /// Files in directories that do not look like video and were left out; name one to read it.
    pub skipped: Vec<PathBuf>,
    /// What could not be used. The files above are unaffected by it.
    pub errors: Vec<DiscoverError>,
}

/// Finds the files that `arguments` mean: a file, a directory with everything below it, or a pattern
/// with `*`, `?` and `[...]`.
///
/// A path that exists is never taken for a pattern, and a name may begin with `-`. In directories,
/// hidden entries (names with a leading dot) are passed over silently, other files that do not look
/// like video are reported; links to files are followed, links to directories are not, so no walk
/// runs in circles.
pub fn discover<A: AsRef<Path>>(arguments: &[A]) -> Discovered {
    let mut walk = Walk::default();
    for argument in arguments {
        walk.argument(argument.as_ref());
    }
    Discovered {
        files: walk.files.into_iter().collect(),
        skipped: walk.skipped.into_iter().collect(),
        errors: walk.errors,
    }
}

#[derive(Default)]
struct Walk {
    files: BTreeSet<FileSource>,
    /// Files met, also those that were met before.
    met: usize,
    skipped: BTreeSet<PathBuf>,
    errors: Vec<DiscoverError>,
}

impl Walk {
    fn argument(&mut self, argument: &Path) {
        let (met, errors) = (self.met, self.errors.len());
        match fs::metadata(argument) {
            Ok(found) if found.is_dir() => self.directory(argument),
            Ok(_) => return self.named(argument),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && is_pattern(argument) => {
                self.pattern(&argument.to_string_lossy());
            }
            Err(cause) => return self.errors.push(DiscoverError::of_io(argument, cause)),
        }
        // Files that an earlier argument named too are no news, and no error either.
        if self.met == met && self.errors.len() == errors {
            let argument = argument.display().to_string();
            self.errors.push(DiscoverError::Nothing { argument });
        }
    }

    fn named(&mut self, path: &Path) {
        match FileSource::try_new(path) {
            Ok(file) => {
                self.met += 1;
                self.files.insert(file);
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn pattern(&mut self, pattern: &str) {
        let paths = match glob::glob(pattern) {
            Ok(paths) => paths,
            Err(cause) => {
                let pattern = pattern.to_owned();
                return self.errors.push(DiscoverError::Pattern { pattern, cause });
            }
        };
        for path in paths {
            match path {
                Ok(path) if path.is_dir() => self.directory(&path),
                Ok(path) => self.named(&path),
                Err(error) => {
                    let path = error.path().to_owned();
                    let cause = error.into();
                    self.errors.push(DiscoverError::Unreadable { path, cause });
                }
            }
        }
    }

    fn directory(&mut self, top: &Path) {
        // A list of what is still to visit, not recursion: a deep tree must not exhaust the stack.
        let mut to_visit = vec![top.to_owned()];
        while let Some(directory) = to_visit.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(cause) => {
                    self.errors.push(DiscoverError::Unreadable { path: directory, cause });
                    continue;
                }
            };
            for entry in entries {
                match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                    Ok((path, _)) if is_hidden(&path) => {}
                    Ok((path, kind)) if kind.is_dir() => to_visit.push(path),
                    Ok((path, _)) => self.found(path),
                    Err(cause) => {
                        let path = directory.clone();
                        self.errors.push(DiscoverError::Unreadable { path, cause });
                    }
                }
            }
        }
    }

    /// A file, or a link, in a directory.
    fn found(&mut self, path: PathBuf) {
        match fs::metadata(&path) {
            Ok(target) if target.is_dir() => {}
            Ok(target) if target.is_file() && looks_like_video(&path) => self.named(&path),
            // A link that leads nowhere may be a disk that is not mounted.
            Err(cause) if looks_like_video(&path) => {
                self.errors.push(DiscoverError::Unreadable { path, cause });
            }
            _ => drop(self.skipped.insert(path)),
        }
    }
}

fn is_pattern(argument: &Path) -> bool {
    argument.to_string_lossy().contains(['*', '?', '['])
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn looks_like_video(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| VIDEO_EXTENSIONS.contains(&&*extension.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        dir
    }

    fn names(found: &Discovered) -> Vec<String> {
        found.files.iter().map(FileSource::name).collect()
    }

    #[test]
    fn a_directory_gives_its_videos_sorted_and_names_what_it_skipped() {
        let dir = tree(&["b.MP4", "a/z.mkv", "a/notes.txt", ".hidden.mp4", ".git/x.mp4", "none"]);
        let found = discover(&[dir.path()]);
        assert_eq!(names(&found), ["z.mkv", "b.MP4"]);
        assert_eq!(found.skipped, [dir.path().join("a/notes.txt"), dir.path().join("none")]);
        assert!(found.errors.is_empty());
    }

    #[test]
    fn a_file_that_is_named_is_taken_whatever_its_name() {
        let dir = tree(&["notes.txt", "-dash-.mp4", "odd[1].mp4"]);
        let named = ["notes.txt", "-dash-.mp4", "odd[1].mp4"].map(|name| dir.path().join(name));
        let found = discover(&named);
        assert_eq!(names(&found), ["-dash-.mp4", "notes.txt", "odd[1].mp4"]);
    }

    #[test]
    fn a_pattern_gives_what_it_matches_and_each_file_comes_once() {
        let dir = tree(&["a1.mp4", "a2.mp4", "b.mp4"]);
        let pattern = dir.path().join("a*.mp4");
        let found = discover(&[pattern.clone(), dir.path().join("a1.mp4"), pattern]);
        assert_eq!(names(&found), ["a1.mp4", "a2.mp4"]);
        assert!(found.errors.is_empty());
    }

    #[test]
    fn an_argument_that_gives_nothing_is_an_error_in_any_order() {
        let dir = tree(&["a1.mp4"]);
        let (file, typo) = (dir.path().join("a1.mp4"), dir.path().join("typo*.mkv"));
        for arguments in [[&file, &typo], [&typo, &file]] {
            let found = discover(&arguments);
            assert_eq!((found.files.len(), found.errors.len()), (1, 1), "{:?}", found.errors);
        }
        assert!(discover(&[&file, &file]).errors.is_empty(), "twice the same is no typo");
    }

    #[test]
    fn every_argument_that_gives_nothing_is_an_error_of_one_line() {
        let dir = tree(&["notes.txt"]);
        let arguments =
            [dir.path().join("missing.mp4"), dir.path().join("x*.mp4"), dir.path().to_owned()];
        let found = discover(&arguments);
        assert_eq!(found.errors.len(), 3);
        assert!(found.errors.iter().all(|error| error.to_string().lines().count() == 1));
        assert!(matches!(found.errors[0], DiscoverError::Missing { .. }));
    }

    #[test]
    fn links_in_a_circle_and_pipes_are_survived() {
        let dir = tree(&["sub/a.mp4"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("sub/up")).unwrap();
        std::os::unix::fs::symlink("loop.mp4", dir.path().join("loop.mp4")).unwrap();
        std::os::unix::fs::symlink("sub/a.mp4", dir.path().join("link.mp4")).unwrap();
        let found = discover(&[dir.path()]);
        assert_eq!(names(&found), ["link.mp4", "a.mp4"]);
        assert!(matches!(
            discover(&["/dev/zero"]).errors[0],
            DiscoverError::NotAFile { is: "a device, pipe or socket", .. }
        ));
    }
}
