//! `footage doctor`: what this machine lacks, and how to get it.

mod media;

use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use footage_index::IndexError;

use crate::compose::House;
use crate::outcome::{Outcome, in_one_line};
use crate::terminal::{counted, escaped, masked};

/// Check what this machine has for Footage, and say how to get what it lacks
///
/// Exit code 0 where everything needed is there, 1 otherwise. What is only a limit, such as a codec
/// without a decoder, is shown as a note.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What a check found.
pub(super) enum Finding {
    /// All is well.
    Good(String),
    /// It works, with a limit.
    Note(String),
    /// It does not work until something is done.
    Bad(String),
}

/// A check: what it is about, and what it found.
pub(super) type Check = (&'static str, Finding);

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(_args: &Args, house: &House) -> Result<Outcome> {
    let mut checks = media::checks();
    checks.push(("processor", processor()));
    checks.push(("locale", locale()));
    checks.push(("model", model(house)));
    checks.push(("data directory", data_directory(&house.settings.data_dir)));
    checks.push(("index", index(house).await));

    let mut out = stdout().lock();
    let mut outcome = Outcome::Done;
    for (about, finding) in checks {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok  ", text),
            Finding::Note(text) => ("note", text),
            Finding::Bad(text) => {
                outcome = Outcome::SomeFailed;
                ("BAD ", text)
            }
        };
        writeln!(out, "{mark}  {about:<16} {}", escaped(&masked(&text)))?;
    }
    Ok(outcome)
}

/// The vector instructions that the model's matrix products can use.
fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let cores = counted(cores, "core");
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
        ];
        let names: Vec<_> = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        if has[1].1 && has[2].1 {
            return Finding::Good(format!("{cores}, {}", names.join(", ")));
        }
        Finding::Note(format!("{cores}, without AVX2 and FMA: indexing will be slow"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    Finding::Good(format!("{cores}, {}", std::env::consts::ARCH))
}

/// Names of files are bytes; without UTF-8, `GStreamer` may not find some.
fn locale() -> Finding {
    let named = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = named.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    match set {
        Some(locale) if locale.to_lowercase().replace('-', "").contains("utf8") => {
            Finding::Good(locale)
        }
        Some(locale) => Finding::Note(format!(
            "{locale} is no UTF-8 locale: messages about files with accents may be garbled; set \
             LC_ALL=C.UTF-8"
        )),
        None => Finding::Note("none is set: set LC_ALL=C.UTF-8 to see accents in names".to_owned()),
    }
}

fn model(house: &House) -> Finding {
    match house.open_model() {
        Ok(model) => {
            let name = model.name();
            let calibrated = match model.calibration() {
                Some(_) => "calibrated",
                None => "not calibrated: searches cannot say \"no match\"",
            };
            Finding::Good(format!(
                "{name}, {} dimensions, fingerprint {}, {calibrated}",
                model.dim(),
                model.fingerprint()
            ))
        }
        Err(error) => Finding::Bad(in_one_line(&error)),
    }
}

/// Whether the data directory, or the nearest folder above it that is there, takes files.
fn data_directory(dir: &Path) -> Finding {
    let nearest = dir.ancestors().find(|path| path.exists()).map(Path::to_path_buf);
    let tried = || -> Result<(PathBuf, u64)> {
        let nearest = nearest.context("no folder above it is there")?;
        tempfile_in(&nearest)?;
        let free = fs4::available_space(&nearest)?;
        Ok((nearest, free))
    };
    match tried() {
        Ok((at, free)) => {
            let gib = free as f64 / f64::from(1 << 30);
            let state = if at == dir { "writable" } else { "not there yet, can be made" };
            let text = format!("{}: {state}, {gib:.1} GiB free", dir.display());
            if gib < 1.0 { Finding::Note(text + ": that is little") } else { Finding::Good(text) }
        }
        Err(error) => Finding::Bad(format!(
            "{} cannot be written: {}: make it writable, or name another with --data-dir",
            dir.display(),
            in_one_line(&error)
        )),
    }
}

/// Makes a file and takes it away again.
fn tempfile_in(folder: &Path) -> Result<()> {
    let path = folder.join(format!(".footage-doctor-{}", std::process::id()));
    fs_err::File::create_new(&path)?;
    Ok(fs_err::remove_file(&path)?)
}

async fn index(house: &House) -> Finding {
    let data = &house.settings.data_dir;
    if !data.join("index").is_dir() {
        return Finding::Good("nothing is indexed yet".to_owned());
    }
    let opened = async {
        let store = house.open_existing_store().await?;
        let sources = store.ledger.sources()?.len() as u64;
        let clips =
            footage_index::FindClips::count(&store.index, &footage_index::Filter::default())
                .await?;
        let model = store.index.collection().model.clone();
        anyhow::Ok((sources, clips, model))
    };
    match opened.await {
        Ok((sources, clips, model)) => Finding::Good(format!(
            "{}, {}, by model {} ({})",
            counted(sources, "source"),
            counted(clips, "clip"),
            model.name,
            model.fingerprint
        )),
        Err(error) if is_in_use(&error) => Finding::Note(in_one_line(&error)),
        Err(error) => Finding::Bad(in_one_line(&error)),
    }
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(IndexError::InUse { .. }))
}
