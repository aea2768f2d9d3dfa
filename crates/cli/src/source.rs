//! Reading event files: lines of bounded length out of plain or gzipped files, and the format by
//! name and content.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use crate::{args::Format, error::CliError};

/// Longest line looked at, in bytes; a longer one is rejected without being kept.
pub(crate) const MAX_LINE: usize = counterfoil_ledger::decode::MAX_EVENT_BYTES;

/// Counts the bytes read from the file itself, for the progress bar.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// An opened source of events.
pub(crate) struct Source {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its size in bytes, where known.
    pub(crate) size: Option<u64>,
    /// Bytes read so far.
    pub(crate) read: Arc<AtomicU64>,
    /// Its format.
    pub(crate) format: Format,
    /// The file, if it is one.
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "only Parquet is read from its end")
    )]
    pub(crate) path: Option<PathBuf>,
    /// The text, unpacked.
    pub(crate) reader: Box<dyn BufRead + Send>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path, format: Option<Format>) -> Result<Self, CliError> {
        let name = path.display().to_string();
        if name == "-" {
            return Self::of("standard input".to_owned(), None, io::stdin(), format);
        }
        let file = File::open(path).map_err(|error| CliError::file(&name, error))?;
        let size = file.metadata().ok().map(|metadata| metadata.len());
        let source = Self::of(name, size, file, format)?;
        Ok(Self { path: Some(path.to_owned()), ..source })
    }

    /// A source out of memory.
    pub(crate) fn memory(name: &str, bytes: &'static [u8]) -> Result<Self, CliError> {
        Self::of(name.to_owned(), Some(bytes.len() as u64), bytes, None)
    }

    fn of(
        name: String,
        size: Option<u64>,
        raw: impl Read + Send + 'static,
        format: Option<Format>,
    ) -> Result<Self, CliError> {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: raw, count: read.clone() };
        let mut packed = BufReader::with_capacity(1 << 16, counted);
        let head = packed.fill_buf().map_err(|error| CliError::file(&name, error))?;
        let gzip = head.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(packed)))
        } else {
            Box::new(packed)
        };
        let format = match format {
            Some(format) => format,
            None => guess(&name, reader.fill_buf().map_err(|error| CliError::file(&name, error))?),
        };
        Ok(Self { name, size, read, format, path: None, reader })
    }
}

fn guess(name: &str, head: &[u8]) -> Format {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    if head.starts_with(b"PAR1") {
        return Format::Parquet;
    }
    // An exported document names what it is first, however it is laid out.
    let beginning: Vec<u8> =
        head.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(10).collect();
    if beginning == b"{\"export\":" {
        return Format::Json;
    }
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'{' | b'[') => Format::Jsonl,
        _ if stem.ends_with(".csv") => Format::Csv,
        _ if stem.ends_with(".jsonl") || stem.ends_with(".ndjson") || stem.ends_with(".json") => {
            Format::Jsonl
        }
        Some(_) if head.contains(&b',') => Format::Csv,
        _ => Format::Jsonl,
    }
}

/// A line, or the length of one that is too long to look at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes, without the line end.
    Text(Vec<u8>),
    /// Too long.
    TooLong(usize),
}

/// Reads one line without ever holding more than [`MAX_LINE`] bytes of it.
pub(crate) fn next_line(reader: &mut dyn BufRead) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    let mut length = 0usize;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            if length == 0 {
                return Ok(None);
            }
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
        length += piece.len() + usize::from(end.is_some());
        if text.len() + piece.len() <= MAX_LINE {
            text.extend_from_slice(piece);
        } else {
            text = Vec::new();
        }
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            break;
        }
    }
    if length > MAX_LINE + 1 {
        return Ok(Some(Line::TooLong(length)));
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    Ok(Some(Line::Text(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_skipped_and_their_neighbours_kept() {
        let mut input = b"one\r\n".to_vec();
        input.extend(vec![b'x'; MAX_LINE * 3]);
        input.extend(b"\ntwo");
        let mut reader = BufReader::with_capacity(4096, input.as_slice());
        assert_eq!(next_line(&mut reader).unwrap(), Some(Line::Text(b"one".to_vec())));
        assert_eq!(next_line(&mut reader).unwrap(), Some(Line::TooLong(MAX_LINE * 3 + 1)));
        assert_eq!(next_line(&mut reader).unwrap(), Some(Line::Text(b"two".to_vec())));
        assert_eq!(next_line(&mut reader).unwrap(), None);
    }
}
