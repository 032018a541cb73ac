//! The disk's side: a thread that does what the queue says, and may be as slow as the disk.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use footage_clip::FragmentName;

use super::RecordingError;
use super::course::Course;
use super::file::FragmentFile;
use super::format::Format;
use super::plan::Timed;
use super::queue::{Command, Queue};

/// How often to look how much room the disk has.
const ROOM_LOOKED_AT: Duration = Duration::from_secs(1);

struct Writer {
    course: Arc<Course>,
    min_free_bytes: u64,
    /// A fragment that is to begin with the next picture.
    next: Option<(FragmentName, Arc<Format>)>,
    file: Option<FragmentFile>,
    looked: Option<Instant>,
}

/// Starts the thread. It ends once the queue is closed and empty.
pub(super) fn start(
    queue: Arc<Queue>,
    course: Arc<Course>,
    min_free_bytes: u64,
) -> std::io::Result<()> {
    let mut writer = Writer { course, min_free_bytes, next: None, file: None, looked: None };
    let thread = thread::Builder::new().name("footage-record".into());
    thread.spawn(move || {
        while let Some(command) = queue.take() {
            writer.run(command);
        }
        writer.close();
        queue.leave();
    })?;
    Ok(())
}

impl Writer {
    fn run(&mut self, command: Command) {
        match command {
            Command::Begin { begins_ns, format } => {
                self.close();
                self.next = Some((format.name(begins_ns), format));
            }
            Command::Append(picture) => self.append(picture),
            Command::End => self.close(),
        }
    }

    fn append(&mut self, picture: Timed<gst::Buffer>) {
        let bytes = picture.payload.size();
        if let Some((name, format)) = self.next.take() {
            let created = self.look_for_room().and_then(|()| {
                FragmentFile::create(self.course.dir(), name, &format, picture.lead_ns.is_none())
            });
            match created {
                Ok(file) => self.file = Some(file),
                Err(error) => {
                    self.course.forget(name);
                    self.course.fail(error);
                }
            }
        }
        // Without a file, this is the rest of a fragment that was given up.
        let Some(file) = &mut self.file else {
            self.course.state().used.left_out += 1;
            return;
        };
        let is_first = file.pictures() == 0;
        let pushed = file.push(picture);
        let done = pushed.and_then(|()| self.look_for_room_now_and_then());
        match done {
            Ok(()) => self.course.wrote(bytes, is_first),
            Err(error) => self.give_up(error),
        }
    }

    fn close(&mut self) {
        if let Some((name, _)) = self.next.take() {
            self.course.forget(name);
        }
        let finished = self.file.as_ref().map_or(Ok(()), FragmentFile::finish);
        match finished {
            Ok(()) => self.file = None,
            Err(error) => self.give_up(error),
        }
    }

    /// The fragment ends here. What is on disk stays, if it is of use.
    fn give_up(&mut self, error: RecordingError) {
        self.course.fail(error);
        let Some(file) = self.file.take() else { return };
        if file.holds_footage() {
            self.course.cut(file.name, file.reaches_ns());
        } else {
            self.course.forget(file.name);
            file.discard();
        }
    }

    fn look_for_room_now_and_then(&mut self) -> Result<(), RecordingError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < ROOM_LOOKED_AT) {
            return Ok(());
        }
        self.look_for_room()
    }

    fn look_for_room(&mut self) -> Result<(), RecordingError> {
        self.looked = Some(Instant::now());
        let dir = self.course.dir();
        // A folder that is not there yet lies on the disk of the one above it.
        let there = dir.ancestors().find(|at| at.exists()).unwrap_or(dir);
        let free_bytes = fs4::available_space(there)
            .map_err(|error| RecordingError::Unwritable(format!("{}: {error}", there.display())))?;
        if free_bytes < self.min_free_bytes {
            let (dir, min_free_bytes) = (dir.to_owned(), self.min_free_bytes);
            return Err(RecordingError::LowSpace { dir, free_bytes, min_free_bytes });
        }
        Ok(())
    }
}
