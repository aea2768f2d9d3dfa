//! Events on disk: append-only segments of one JSON event a line, `NUMBER.jsonl`, read oldest
//! first and removed when all of their events are delivered.
//!
//! A line counts when its line feed is on disk; what a killed process left of a line behind the
//! last one was never promised and is cut off. Delivery is remembered by the segment: after a
//! crash the events of the segment being delivered are sent again, and counted once by their ids.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A segment is closed when it is this large.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// Room below the first number, for what must go in front.
const FIRST: u64 = 1 << 40;
/// Most bytes of events in one request.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Why the spill cannot be used.
#[derive(Debug, Error)]
pub enum SpillError {
    /// Its bound is reached.
    #[error("the spill holds as much as it may")]
    Full,
    /// Another writer has it.
    #[error("{0} is used by another writer")]
    InUse(String),
    /// `Accept::Durable` without a directory.
    #[error("accepting on disk needs a spill directory")]
    Wanted,
    /// The system's error.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: String,
        /// What.
        error: io::Error,
    },
}

struct Segment {
    number: u64,
    bytes: u64,
    events: u64,
}

/// See the module header.
pub(crate) struct Spill {
    directory: PathBuf,
    limit: u64,
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that are delivered.
    done: u64,
    /// Events of the first segment that are delivered.
    done_events: u64,
    /// The last segment, while it is written.
    tail: Option<File>,
    /// Held as long as this lives.
    _lock: File,
}

impl Spill {
    /// Opens a directory, making it, with what an earlier process left there.
    pub(crate) fn open(directory: &Path, limit: u64) -> Result<Self, SpillError> {
        let failed = |error| io_error(directory, error);
        fs::create_dir_all(directory).map_err(failed)?;
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| io_error(&lock_path, error))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => SpillError::InUse(directory.display().to_string()),
            fs::TryLockError::Error(error) => io_error(&lock_path, error),
        })?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let mut spill = Self {
            directory: directory.to_owned(),
            limit,
            segments: VecDeque::new(),
            done: 0,
            done_events: 0,
            tail: None,
            _lock: lock,
        };
        for number in numbers {
            let path = spill.path(number);
            let segment = whole(number, &path).map_err(|error| io_error(&path, error))?;
            if segment.events == 0 {
                fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
            } else {
                spill.segments.push_back(segment);
            }
        }
        Ok(spill)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.jsonl"))
    }

    /// Events that are still to be delivered.
    pub(crate) fn events(&self) -> u64 {
        let all: u64 = self.segments.iter().map(|segment| segment.events).sum();
        all.saturating_sub(self.done_events)
    }

    /// Whether there is nothing to deliver.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn has_room(&self, bytes: u64) -> Result<(), SpillError> {
        let held: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        if held.saturating_add(bytes) > self.limit { Err(SpillError::Full) } else { Ok(()) }
    }

    /// Appends lines: all of them, on disk when this returns, or none.
    pub(crate) fn append(&mut self, lines: &[String]) -> Result<(), SpillError> {
        let text = joined(lines);
        self.has_room(length(&text))?;
        if self.tail.is_none()
            || self.segments.back().is_none_or(|last| last.bytes >= SEGMENT_BYTES)
        {
            self.tail = None;
            let number = self.segments.back().map_or(FIRST, |last| last.number + 1);
            let file = self.create(number)?;
            self.segments.push_back(Segment { number, bytes: 0, events: 0 });
            self.tail = Some(file);
        }
        let path = self.segments.back().map(|last| self.path(last.number)).unwrap_or_default();
        let (Some(file), Some(last)) = (&mut self.tail, self.segments.back_mut()) else {
            return Ok(());
        };
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            // Whatever came through is cut off, here or when it is opened again; a new segment
            // takes what follows.
            let _ = file.set_len(last.bytes).and_then(|()| file.seek(SeekFrom::End(0)));
            self.tail = None;
            if last.events == 0 {
                self.segments.pop_back();
                let _ = fs::remove_file(&path);
            }
            return Err(io_error(&path, error));
        }
        last.bytes += length(&text);
        last.events += count(lines);
        Ok(())
    }

    /// Puts lines before all others: all of them, on disk when this returns, or none.
    pub(crate) fn put_front(&mut self, lines: &[String]) -> Result<(), SpillError> {
        if self.segments.is_empty() {
            return self.append(lines);
        }
        let text = joined(lines);
        self.has_room(length(&text))?;
        self.forget_delivered()?;
        let number = self.segments.front().map_or(FIRST, |first| first.number - 1);
        let mut file = self.create(number)?;
        let path = self.path(number);
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            let _ = fs::remove_file(&path);
            return Err(io_error(&path, error));
        }
        let (bytes, events) = (length(&text), count(lines));
        self.segments.push_front(Segment { number, bytes, events });
        Ok(())
    }

    /// The first lines, at most so many; none when there are none.
    pub(crate) fn peek(&self, most: usize) -> Result<Vec<String>, SpillError> {
        let Some(first) = self.segments.front() else { return Ok(Vec::new()) };
        let path = self.path(first.number);
        let failed = |error| io_error(&path, error);
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.done)).map_err(failed)?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        // Not beyond what was synced: a line behind it may be half there.
        let left = io::Read::take(file, first.bytes - self.done);
        for line in BufReader::new(left).split(b'\n').take(most.max(1)) {
            let line = line.map_err(failed)?;
            bytes += line.len() + 1;
            // A line that is no text any more is sent as it is and refused by the service.
            lines.push(String::from_utf8_lossy(&line).into_owned());
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(lines)
    }

    /// The first so many lines are delivered.
    pub(crate) fn advance(&mut self, lines: usize) -> Result<(), SpillError> {
        let Some(first) = self.segments.front() else { return Ok(()) };
        let path = self.path(first.number);
        let failed = |error| io_error(&path, error);
        let mut file = File::open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(self.done)).map_err(failed)?;
        for line in BufReader::new(file).split(b'\n').take(lines) {
            self.done += u64::try_from(line.map_err(failed)?.len()).unwrap_or(u64::MAX) + 1;
            self.done_events += 1;
        }
        if self.done >= first.bytes {
            if self.segments.len() == 1 {
                self.tail = None;
            }
            self.segments.pop_front();
            self.done = 0;
            self.done_events = 0;
            fs::remove_file(&path).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the first segment anew without what is delivered of it, so that another can go
    /// before it.
    fn forget_delivered(&mut self) -> Result<(), SpillError> {
        if self.done == 0 {
            return Ok(());
        }
        let Some(first) = self.segments.front_mut() else { return Ok(()) };
        let (number, done) = (first.number, self.done);
        let path = self.directory.join(format!("{number:020}.jsonl"));
        let failed = |error| io_error(&path, error);
        let text = fs::read(&path).map_err(failed)?;
        let rest = usize::try_from(done).ok().and_then(|done| text.get(done..)).unwrap_or_default();
        let anew = path.with_extension("new");
        let mut file = File::create(&anew).map_err(failed)?;
        file.write_all(rest).and_then(|()| file.sync_data()).map_err(failed)?;
        fs::rename(&anew, &path).map_err(failed)?;
        if self.segments.len() == 1 {
            // The open file is the one that was replaced.
            self.tail = None;
        }
        if let Some(first) = self.segments.front_mut() {
            first.bytes -= done;
            first.events -= self.done_events;
        }
        self.done = 0;
        self.done_events = 0;
        sync_directory(&self.directory)
    }

    /// Keeps an event that was refused for good, for people to look at, within the spill's bound.
    pub(crate) fn keep_refused(&self, line: &str) -> Result<(), SpillError> {
        let path = self.directory.join("refused.jsonl");
        let failed = |error| io_error(&path, error);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() >= self.limit {
            return Err(SpillError::Full);
        }
        file.write_all(line.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    fn create(&self, number: u64) -> Result<File, SpillError> {
        let path = self.path(number);
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(|error| io_error(&path, error))?;
        sync_directory(&self.directory)?;
        Ok(file)
    }
}

/// A segment without what is left of a line behind the last line feed.
fn whole(number: u64, path: &Path) -> io::Result<Segment> {
    let text = fs::read(path)?;
    let bytes = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if bytes < text.len() {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes as u64)?;
        file.sync_data()?;
    }
    let events = text.iter().filter(|byte| **byte == b'\n').count();
    Ok(Segment { number, bytes: bytes as u64, events: events as u64 })
}

fn joined(lines: &[String]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    text
}

fn length(text: &[u8]) -> u64 {
    text.len() as u64
}

fn count(lines: &[String]) -> u64 {
    lines.len() as u64
}

fn sync_directory(directory: &Path) -> Result<(), SpillError> {
    // A file's name is on disk when its directory is.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(directory, error))
}

fn io_error(path: &Path, error: io::Error) -> SpillError {
    SpillError::Io { path: path.display().to_string(), error }
}
