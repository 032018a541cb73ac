//! The videos of a data set on a disk.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// Folders in folders that are searched.
const DEEPEST: usize = 8;

/// Endings of what lies beside videos and is none.
const NO_VIDEOS: [&str; 9] = ["json", "jsonl", "csv", "txt", "srt", "vtt", "md", "jpg", "pkl"];

/// Where a data set's names of videos may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Anywhere: people wrote them, for their own files.
    Anywhere,
    /// To files in the folder: whoever made the data set does not choose what else is read.
    Inside,
}

/// A folder of videos.
#[derive(Debug)]
pub(crate) struct Videos {
    folder: PathBuf,
    names: Names,
    /// Files by their name without its ending. Gathered when the first one is asked for by name.
    by_stem: std::cell::OnceCell<BTreeMap<String, Vec<PathBuf>>>,
}

impl Videos {
    pub(crate) fn open(folder: &Path, names: Names) -> Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs_err::read_dir(folder)?;
        Ok(Self { folder: folder.to_owned(), names, by_stem: std::cell::OnceCell::new() })
    }

    /// The file that a data set calls `name`: a path in the folder, or a file's name, with its ending
    /// or without, in any folder of it; where [`Names::Anywhere`] allows it, any other path.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf> {
        let missing = || format!("{} has no video called {name}", self.folder.display());
        let is_inside = Path::new(name)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        ensure!(
            is_inside || self.names == Names::Anywhere,
            "{}, and names that lead out of it are followed only in a CSV of your own",
            missing()
        );
        let file = self.folder.join(name);
        if file.is_file() {
            return Ok(file);
        }
        let by_stem = self.by_stem.get_or_init(|| gathered(&self.folder));
        let files = by_stem.get(stem(name)).filter(|_| is_inside).with_context(missing)?;
        let of_name: Vec<&PathBuf> = files
            .iter()
            .filter(|file| Path::new(name).parent().is_none_or(|within| ends_in(file, within)))
            .collect();
        match of_name[..] {
            [file] => Ok(file.clone()),
            [] => bail!(missing()),
            [one, other, ..] => {
                bail!("{name} may be {} or {}: keep one of them", one.display(), other.display())
            }
        }
    }
}

/// A video's name without folders and ending. Some lists have it cut off after the dot.
pub(super) fn stem(name: &str) -> &str {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match name.rsplit_once('.') {
        // `clip_0.5-2.25` has no ending: endings begin with a letter, or are cut off, or are `3gp`.
        Some((stem, ending))
            if ending.is_empty()
                || ending == "3gp"
                || ending.starts_with(|c: char| c.is_ascii_alphabetic()) && ending.len() <= 5 =>
        {
            stem
        }
        _ => name,
    }
}

fn ends_in(file: &Path, within: &Path) -> bool {
    file.parent().is_some_and(|folder| folder.ends_with(within))
}

fn gathered(folder: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let walk =
        walkdir::WalkDir::new(folder).max_depth(DEEPEST).follow_links(true).sort_by_file_name();
    // What cannot be read has no video to give; whoever asks for one is told that it is missing.
    for entry in walk.into_iter().filter_map(Result::ok) {
        let ending = entry.path().extension().and_then(|ending| ending.to_str());
        if entry.file_type().is_file() && !ending.is_some_and(|ending| NO_VIDEOS.contains(&ending))
        {
            let name = entry.file_name().to_string_lossy();
            files.entry(stem(&name).to_owned()).or_default().push(entry.path().to_owned());
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn videos_are_found_by_path_by_name_and_without_an_ending() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a/one.mp4", "b/two.webm", "b/two.json", "b/c/one.mp4", "three_0.5-2.25.mkv"] {
            fs_err::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs_err::write(at(name), "").unwrap();
        }
        let videos = Videos::open(folder.path(), Names::Inside).unwrap();
        let found = |name: &str| videos.find(name).unwrap();
        assert_eq!(found("a/one.mp4"), at("a/one.mp4"));
        assert_eq!(found("c/one.avi"), at("b/c/one.mp4"), "its ending may differ");
        assert_eq!(found("two"), at("b/two.webm"));
        assert_eq!(found("two."), at("b/two.webm"));
        assert_eq!(found("three_0.5-2.25"), at("three_0.5-2.25.mkv"));
        let refused = |name: &str| videos.find(name).unwrap_err().to_string();
        assert!(refused("one").contains("keep one of them"), "{}", refused("one"));
        assert!(refused("four").contains("no video called four"));
        assert!(refused("x/two").contains("no video called x/two"));
        assert!(refused("../two").contains("no video called"));
    }

    #[test]
    fn names_lead_out_of_the_folder_only_where_people_wrote_them() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("videos")).unwrap();
        let (beside, inside) = (folder.path().join("a.mp4"), folder.path().join("videos/b.mp4"));
        for file in [&beside, &inside] {
            fs_err::write(file, "").unwrap();
        }
        let own = Videos::open(&folder.path().join("videos"), Names::Anywhere).unwrap();
        let published = Videos::open(&folder.path().join("videos"), Names::Inside).unwrap();
        for name in ["../a.mp4", beside.to_str().unwrap()] {
            assert!(own.find(name).unwrap().is_file(), "{name}");
            let refused = published.find(name).unwrap_err().to_string();
            assert!(refused.contains("lead out of it"), "{refused}");
        }
        for name in ["b.mp4", "./b.mp4", "b"] {
            assert!(published.find(name).unwrap().is_file(), "{name}");
        }
        assert!(own.find("../lost.mp4").is_err());
    }
}
