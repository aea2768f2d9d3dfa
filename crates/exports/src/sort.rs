//! Sorting more rows than memory holds: sorted runs in temporary files, merged at the end.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Seek, Write},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::ExportError;

/// Rows held in memory at once.
const RUN: usize = 100_000;

/// Takes rows in any order.
pub struct Sorter<T> {
    rows: Vec<T>,
    runs: Vec<BufReader<File>>,
    most: usize,
}

impl<T: Ord + Serialize + DeserializeOwned> Default for Sorter<T> {
    fn default() -> Self {
        Self::holding(RUN)
    }
}

impl<T: Ord + Serialize + DeserializeOwned> Sorter<T> {
    /// One that holds so many rows in memory.
    #[must_use]
    pub fn holding(most: usize) -> Self {
        Self { rows: Vec::new(), runs: Vec::new(), most }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn push(&mut self, row: T) -> Result<(), ExportError> {
        self.rows.push(row);
        if self.rows.len() < self.most { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> Result<(), ExportError> {
        self.rows.sort();
        let mut file = BufWriter::with_capacity(1 << 16, tempfile::tempfile()?);
        for row in self.rows.drain(..) {
            serde_json::to_writer(&mut file, &row).map_err(std::io::Error::from)?;
            file.write_all(b"\n")?;
        }
        let mut file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(BufReader::with_capacity(1 << 14, file));
        Ok(())
    }

    /// The rows from the least to the greatest.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub fn sorted(mut self) -> Result<Sorted<T>, ExportError> {
        self.rows.sort();
        let mut sorted =
            Sorted { memory: self.rows.into_iter(), runs: self.runs, heads: BinaryHeap::new() };
        for run in 0..=sorted.runs.len() {
            sorted.refill(run)?;
        }
        Ok(sorted)
    }
}

/// Sorted rows on their way out.
pub struct Sorted<T> {
    memory: std::vec::IntoIter<T>,
    runs: Vec<BufReader<File>>,
    heads: BinaryHeap<Reverse<(T, usize)>>,
}

impl<T: Ord + DeserializeOwned> Sorted<T> {
    /// Takes the next row of a run; the last run is what stayed in memory.
    fn refill(&mut self, run: usize) -> Result<(), ExportError> {
        let next = match self.runs.get_mut(run) {
            None => self.memory.next(),
            Some(file) => {
                let mut line = String::new();
                file.read_line(&mut line)?;
                let row = (!line.is_empty()).then(|| serde_json::from_str(&line)).transpose();
                row.map_err(std::io::Error::from)?
            }
        };
        if let Some(row) = next {
            self.heads.push(Reverse((row, run)));
        }
        Ok(())
    }

    /// The next row.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub fn next_row(&mut self) -> Result<Option<T>, ExportError> {
        let Some(Reverse((row, run))) = self.heads.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_out_sorted_however_many_runs_there_are(
            mut rows in prop::collection::vec((any::<i64>(), "[a\n\"é]{0,3}"), 0..200),
            most in 1usize..50,
        ) {
            let mut sorter = Sorter::holding(most);
            for row in rows.clone() {
                sorter.push(row).unwrap();
            }
            let mut sorted = sorter.sorted().unwrap();
            let mut found = Vec::new();
            while let Some(row) = sorted.next_row().unwrap() {
                found.push(row);
            }
            rows.sort();
            prop_assert_eq!(found, rows);
        }
    }
}
