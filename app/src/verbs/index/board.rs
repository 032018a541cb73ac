//! How far a run has come: a bar where somebody watches, a line now and then where nobody does.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use footage_clip::SourceId;
use footage_indexer::{Progress, SourceProgress};
use footage_pipeline::{Event, FileSource, News};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;

use super::called;
use super::report::{line, line_of};
use crate::earlier::{Earlier, Remembered};
use crate::terminal::{counted, roughly};

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(15);

/// What is known of a run's files.
pub(super) struct Board {
    began: Instant,
    state: Mutex<State>,
    committed: watch::Receiver<Progress>,
    earlier: Arc<Remembered>,
    bar: ProgressBar,
}

struct State {
    files: Vec<File>,
    /// Places of the files being read, the latest last.
    running: VecDeque<usize>,
    ended: usize,
    /// Lines about files that have ended, waiting until what they say is on disk.
    lines: VecDeque<Line>,
    end: Option<End>,
}

/// What is said of a file, once its clips are committed.
struct Line {
    text: String,
    source_id: Option<SourceId>,
    clips: u64,
}

/// How the run ended.
#[derive(Clone, Copy)]
struct End {
    is_all_committed: bool,
}

/// Bytes stand for work: they are known of every file before it is opened.
struct File {
    name: String,
    bytes: u64,
    /// Share of it that is done, 0 to 1.
    done: f64,
    /// Nothing had to be done, so it says nothing about the time that the others take.
    was_known: bool,
}

impl Board {
    pub(super) fn new(
        files: &[FileSource],
        committed: watch::Receiver<Progress>,
        earlier: Arc<Remembered>,
    ) -> Self {
        let file = |file: &FileSource| File {
            name: called(file.path()),
            bytes: fs_err::metadata(file.path()).map_or(1, |metadata| metadata.len().max(1)),
            done: 0.0,
            was_known: false,
        };
        let files: Vec<File> = files.iter().map(file).collect();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}%  {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_length(files.iter().map(|file| file.bytes).sum());
        let state =
            State { files, running: VecDeque::new(), ended: 0, lines: VecDeque::new(), end: None };
        Self { began: Instant::now(), state: Mutex::new(state), committed, earlier, bar }
    }

    /// Takes in what happened to a file. Quick: it is called from the threads that work.
    pub(super) fn hear(&self, event: &Event<'_>) {
        let earlier = match &event.news {
            News::Ended(outcome) => self.earlier.about(outcome),
            _ => Earlier::default(),
        };
        let mut state = self.state();
        let at = event.at;
        match &event.news {
            News::Identifying { .. } => state.runs(at),
            News::Indexing { done_ns, total_ns, .. } => {
                state.runs(at);
                let done = total_ns.map_or(0.0, |total| *done_ns as f64 / total.max(1) as f64);
                state.files[at].done = done.clamp(0.0, 1.0);
            }
            News::Ended(outcome) => {
                state.running.retain(|running| *running != at);
                state.ended += 1;
                state.files[at].done = 1.0;
                let published = outcome.clips.published + outcome.clips.lost();
                state.files[at].was_known = published == 0;
                let source_id =
                    outcome.identity.as_ref().map(|identity| identity.source_id.clone());
                state.lines.push_back(Line {
                    text: line_of(outcome, &earlier),
                    source_id,
                    clips: published,
                });
            }
        }
    }

    /// Shows until [`end`](Self::end) is called.
    pub(super) async fn show(self: Arc<Self>) {
        let is_watched = stderr().is_terminal();
        let mut ticks = tokio::time::interval(TICK);
        let mut line_due = self.began + LINE;
        loop {
            ticks.tick().await;
            let end = self.state().end;
            let lines = self.state().settled(&self.committed.borrow(), end);
            if !lines.is_empty() {
                self.bar.suspend(|| lines.iter().for_each(|text| line(text)));
            }
            if end.is_some() {
                break self.bar.finish_and_clear();
            }
            if is_watched {
                let (done, all) = self.state().bytes();
                self.bar.set_length(all);
                self.bar.set_position(done);
                self.bar.set_message(self.message() + &self.running().unwrap_or_default());
            } else if Instant::now() >= line_due {
                line_due += LINE;
                // A closed stderr is no reason to stop.
                drop(writeln!(stderr(), "{:>3}%  {}", self.percent(), self.message()));
            }
        }
    }

    /// The run is over; whether the index has taken everything.
    pub(super) fn end(&self, is_all_committed: bool) {
        self.state().end = Some(End { is_all_committed });
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn percent(&self) -> u64 {
        let (done, all) = self.state().bytes();
        (done * 100).checked_div(all).unwrap_or(100)
    }

    /// `3 of 12 files, 210 clips, about 4 min left`
    fn message(&self) -> String {
        let clips = self.committed.borrow().clips();
        let state = self.state();
        let left = state.time_left(self.began.elapsed());
        let left = left.map(|left| format!(", about {} left", roughly(left.as_nanos() as u64)));
        format!(
            "{} of {}, {}{}",
            state.ended,
            counted(state.files.len() as u64, "file"),
            counted(clips, "clip"),
            left.unwrap_or_default()
        )
    }

    /// The file that was begun last.
    fn running(&self) -> Option<String> {
        let state = self.state();
        state.running.back().map(|at| format!(": {}", state.files[*at].name))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn runs(&mut self, at: usize) {
        if !self.running.contains(&at) {
            self.running.push_back(at);
        }
    }

    /// Takes out the lines that are true by now.
    fn settled(&mut self, committed: &Progress, end: Option<End>) -> Vec<String> {
        let of = |id: &SourceId| committed.sources.get(id).copied().unwrap_or_default();
        let clips = |p: SourceProgress| p.indexed_clips + p.gated_clips + p.lost_clips;
        let is_true = |line: &Line| {
            let is_committed = line.source_id.as_ref().is_none_or(|id| clips(of(id)) >= line.clips);
            is_committed || end.is_some_and(|end| end.is_all_committed)
        };
        let (settled, waiting) = self.lines.drain(..).partition::<Vec<_>, _>(is_true);
        self.lines.extend(waiting);
        settled.into_iter().map(|line| line.text).collect()
    }

    /// Done, and in all, of the files with something to do.
    fn bytes(&self) -> (u64, u64) {
        let to_do = self.files.iter().filter(|file| !file.was_known);
        to_do.fold((0, 0), |(done, all), file| {
            (done + (file.bytes as f64 * file.done) as u64, all + file.bytes)
        })
    }

    /// By what the work so far took; nothing to go by before a hundredth of it is done.
    fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let (done, all) = self.bytes();
        let share = done as f64 / all.max(1) as f64;
        let enough = share > 0.01 && elapsed > Duration::from_secs(2);
        let left = enough.then(|| elapsed.mul_f64((1.0 - share) / share));
        left.filter(|left| *left >= Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(u64, f64, bool)]) -> State {
        let file = |(bytes, done, was_known): &(u64, f64, bool)| File {
            name: String::new(),
            bytes: *bytes,
            done: *done,
            was_known: *was_known,
        };
        let files = files.iter().map(file).collect();
        State { files, running: VecDeque::new(), ended: 0, lines: VecDeque::new(), end: None }
    }

    #[test]
    fn files_that_were_known_say_nothing_about_the_time_left() {
        let state = state(&[(1000, 1.0, true), (100, 0.5, false)]);
        assert_eq!(state.bytes(), (50, 100));
        assert_eq!(state.time_left(Duration::from_secs(10)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_file_is_called_indexed_only_once_its_clips_are_committed() {
        let id = SourceId::try_new("a").unwrap();
        let mut state = state(&[]);
        let line = |text: &str, source_id| Line { text: text.into(), source_id, clips: 3 };
        state.lines.push_back(line("a.mp4: indexed 3 clips", Some(id.clone())));
        state.lines.push_back(line("b.mp4: failed", None));
        let mut committed = Progress::default();
        committed.sources.entry(id.clone()).or_default().indexed_clips = 2;

        assert_eq!(state.settled(&committed, None), ["b.mp4: failed"]);
        committed.sources.entry(id).or_default().lost_clips = 1;
        assert_eq!(state.settled(&committed, None), ["a.mp4: indexed 3 clips"]);
        assert!(state.settled(&committed, None).is_empty());
    }

    #[test]
    fn nothing_is_called_indexed_that_the_index_did_not_take() {
        let mut state = state(&[]);
        let id = SourceId::try_new("a").ok();
        state.lines.push_back(Line { text: "a.mp4: indexed".into(), source_id: id, clips: 3 });
        let lost = Some(End { is_all_committed: false });
        assert!(state.settled(&Progress::default(), lost).is_empty());
    }

    #[test]
    fn nothing_is_foretold_before_there_is_anything_to_go_by() {
        assert_eq!(state(&[(100, 0.0, false)]).time_left(Duration::from_secs(10)), None);
        assert_eq!(state(&[(100, 0.5, false)]).time_left(Duration::from_secs(1)), None);
    }
}
