//! Exports that are read back and are no lines: the JSON document and Parquet. Rows are taken as
//! they come; a document that breaks off is an error after them.

use counterfoil_ledger::decode::{Defaults, decode_json};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Batches;
use crate::{error::CliError, source::Source};

/// Where the rows of a document go.
struct Rows<'a, 'b> {
    defaults: &'a Defaults,
    batches: &'a mut Batches<'b>,
    count: u64,
    unheard: bool,
}

/// The array of rows.
struct Array<'r, 'a, 'b>(&'r mut Rows<'a, 'b>);

impl<'de> DeserializeSeed<'de> for Array<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of events")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let rows = self.0;
        while let Some(raw) = access.next_element::<Box<RawValue>>()? {
            rows.count += 1;
            let event = decode_json(raw.get().as_bytes(), rows.defaults);
            if !rows.batches.push(rows.count, raw.get().to_owned(), event) {
                rows.unheard = true;
                return Err(serde::de::Error::custom("nobody listens any more"));
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Rows<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an exported document of events")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while let Some(name) = access.next_key::<String>()? {
            match name.as_str() {
                "export" => {
                    let what: String = access.next_value()?;
                    if what != "events" {
                        return Err(serde::de::Error::custom(format!(
                            "this is an export of {what}; only events are read back"
                        )));
                    }
                }
                "rows" => access.next_value_seed(Array(self))?,
                _ => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads an exported JSON document.
pub(super) fn document(
    source: Source,
    defaults: &Defaults,
    batches: &mut Batches<'_>,
) -> Result<(), CliError> {
    let mut rows = Rows { defaults, batches, count: 0, unheard: false };
    let mut reader = serde_json::Deserializer::from_reader(source.reader);
    let outcome = reader.deserialize_map(&mut rows).and_then(|()| reader.end());
    match outcome {
        // The writer has failed: its error is the one to report.
        Err(_) if rows.unheard => Ok(()),
        Err(error) => Err(CliError::file(&source.name, error)),
        Ok(()) => Ok(()),
    }
}

/// Reads an exported Parquet file.
#[cfg(not(feature = "parquet"))]
pub(super) fn parquet(source: Source, _batches: &mut Batches<'_>) -> Result<(), CliError> {
    Err(CliError::file(&source.name, counterfoil_exports::ExportError::NotBuilt("parquet")))
}

#[cfg(feature = "parquet")]
pub(super) use columns::parquet;

#[cfg(feature = "parquet")]
mod columns {
    //! Rows out of Parquet columns: each becomes the cells that a CSV export would have.

    use arrow_array::{
        Array, RecordBatch,
        cast::AsArray,
        types::{Decimal128Type, Int64Type, TimestampMicrosecondType},
    };
    use counterfoil_ledger::csv_map::{is_exported, read_exported};
    use counterfoil_types::Timestamp;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::{super::decode::Batches, CliError, Source};

    /// A value as the text a CSV cell has.
    fn text(batch: &RecordBatch, column: usize, row: usize) -> Result<String, String> {
        let array = batch.column(column);
        if array.is_null(row) {
            return Ok(String::new());
        }
        if let Some(texts) = array.as_string_opt::<i32>() {
            return Ok(texts.value(row).to_owned());
        }
        if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            return Ok(numbers.value(row).to_string());
        }
        if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            return Ok(Timestamp::from_micros(times.value(row)).to_string());
        }
        if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
            return Ok(decimals.value_as_string(row));
        }
        Err(format!("{} is not what an export holds", array.data_type()))
    }

    /// Reads an exported Parquet file.
    pub(in super::super) fn parquet(
        source: Source,
        batches: &mut Batches<'_>,
    ) -> Result<(), CliError> {
        let failed = |why: &dyn std::fmt::Display| CliError::file(&source.name, why);
        let Some(path) = &source.path else {
            return Err(failed(&"Parquet is read from a file, not from a pipe"));
        };
        let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(4_000).build())
            .map_err(|error| failed(&error))?;
        let mut number = 0;
        for batch in reader {
            let batch = batch.map_err(|error| failed(&error))?;
            let header: Vec<String> =
                batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            if !is_exported(&header) {
                return Err(failed(&"this is no export of events; only those are read back"));
            }
            for row in 0..batch.num_rows() {
                number += 1;
                let cells: Result<Vec<String>, String> =
                    (0..header.len()).map(|column| text(&batch, column, row)).collect();
                let cells = cells.map_err(|error| failed(&error))?;
                let event = read_exported(&header, &cells);
                if !batches.push(number, cells.join(","), event) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
