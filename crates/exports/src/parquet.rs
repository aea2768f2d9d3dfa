//! Parquet: decimal128 at a stated scale, times in microseconds UTC, zstd, row groups of bounded
//! size. A number that does not fit its column is an error that names the row, never rounded.

use std::{io::Write, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{
        Date32Builder, Decimal128Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
    },
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use rust_decimal::Decimal;

use crate::{Cell, Column, ExportError, Kind, Sink};

/// Rows turned into columns at once.
const BATCH: usize = 8_192;
/// Rows of a row group.
const GROUP: usize = 131_072;
/// Digits of a decimal128.
const PRECISION: u8 = 38;

impl From<ParquetError> for ExportError {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
                Ok(error) => Self::Io(*error),
                Err(other) => Self::Format(format!("Parquet: {other}")),
            },
            other => Self::Format(format!("Parquet: {other}")),
        }
    }
}

impl From<ArrowError> for ExportError {
    fn from(error: ArrowError) -> Self {
        Self::Format(format!("Parquet: {error}"))
    }
}

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Decimal(Decimal128Builder),
    Time(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl Builder {
    fn new(data: &DataType) -> Result<Self, ExportError> {
        Ok(match data {
            DataType::Int64 => Self::Integer(Int64Builder::with_capacity(BATCH)),
            DataType::Decimal128(..) => {
                Self::Decimal(Decimal128Builder::with_capacity(BATCH).with_data_type(data.clone()))
            }
            DataType::Timestamp(..) => {
                Self::Time(TimestampMicrosecondBuilder::with_capacity(BATCH).with_timezone("UTC"))
            }
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(BATCH)),
            _ => Self::Text(StringBuilder::with_capacity(BATCH, BATCH * 16)),
        })
    }

    fn push(&mut self, cell: &Cell<'_>, scale: i8) -> Result<(), String> {
        match (self, cell) {
            (Self::Text(column), Cell::Empty) => column.append_null(),
            (Self::Integer(column), Cell::Empty) => column.append_null(),
            (Self::Decimal(column), Cell::Empty) => column.append_null(),
            (Self::Time(column), Cell::Empty) => column.append_null(),
            (Self::Date(column), Cell::Empty) => column.append_null(),
            (Self::Text(column), Cell::Text(text) | Cell::Json(text) | Cell::Exact(text)) => {
                column.append_value(text);
            }
            (Self::Integer(column), Cell::Integer(value)) => column.append_value(*value),
            (Self::Decimal(column), Cell::Decimal(value)) => {
                column.append_value(scaled(value, scale)?);
            }
            (Self::Decimal(column), Cell::Integer(value)) => {
                column.append_value(scaled(&Decimal::from(*value), scale)?);
            }
            (Self::Time(column), Cell::Timestamp(at)) => column.append_value(at.micros()),
            (Self::Date(column), Cell::Date(day)) => {
                let days = (*day - jiff::civil::date(1970, 1, 1)).get_days();
                column.append_value(days);
            }
            (_, other) => return Err(format!("{other:?} is not what the column holds")),
        }
        Ok(())
    }

    fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Integer(column) => Arc::new(column.finish()),
            Self::Decimal(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Date(column) => Arc::new(column.finish()),
        }
    }
}

/// A decimal in units of the scale.
fn scaled(value: &Decimal, scale: i8) -> Result<i128, String> {
    let too_wide = || {
        format!(
            "{value} does not fit a decimal of {PRECISION} digits with {scale} decimals; give another scale (--scale), or use csv or ndjson"
        )
    };
    let value_scale = value.scale();
    let wanted = u32::try_from(scale).map_err(|_| too_wide())?;
    let mantissa = value.mantissa();
    let limit = 10i128.pow(u32::from(PRECISION));
    let out = if wanted >= value_scale {
        let factor = 10i128.checked_pow(wanted - value_scale).ok_or_else(too_wide)?;
        mantissa.checked_mul(factor).ok_or_else(too_wide)?
    } else {
        let factor = 10i128.checked_pow(value_scale - wanted).ok_or_else(too_wide)?;
        if mantissa % factor != 0 {
            return Err(too_wide());
        }
        mantissa / factor
    };
    if out.abs() >= limit { Err(too_wide()) } else { Ok(out) }
}

struct Open {
    writer: ArrowWriter<Box<dyn Write + Send>>,
    schema: SchemaRef,
    names: Vec<Column>,
    builders: Vec<Builder>,
    waiting: usize,
}

/// The Parquet sink.
pub struct Parquet {
    target: Option<Box<dyn Write + Send>>,
    scale: i8,
    open: Option<Open>,
    rows: u64,
}

impl Parquet {
    /// A file whose decimals have `scale` decimals.
    #[must_use]
    pub fn new(target: Box<dyn Write + Send>, scale: i8) -> Self {
        Self { target: Some(target), scale, open: None, rows: 0 }
    }

    fn pass_on(open: &mut Open) -> Result<(), ExportError> {
        if open.waiting > 0 {
            let columns = open.builders.iter_mut().map(Builder::take).collect();
            open.writer.write(&RecordBatch::try_new(open.schema.clone(), columns)?)?;
            open.waiting = 0;
        }
        Ok(())
    }
}

impl Sink for Parquet {
    fn table(&mut self, _name: &str, columns: &[Column]) -> Result<(), ExportError> {
        let target = self.target.take().ok_or(ExportError::OneTable("Parquet"))?;
        let field = |column: &Column| {
            let data = match column.kind {
                Kind::Text | Kind::Json | Kind::Exact => DataType::Utf8,
                Kind::Integer => DataType::Int64,
                Kind::Decimal => DataType::Decimal128(PRECISION, self.scale),
                Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                Kind::Date => DataType::Date32,
            };
            Field::new(column.name.as_ref(), data, true)
        };
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP))
            .build();
        let builders: Result<Vec<Builder>, ExportError> =
            schema.fields().iter().map(|field| Builder::new(field.data_type())).collect();
        let writer = ArrowWriter::try_new(target, schema.clone(), Some(properties))?;
        self.open =
            Some(Open { writer, schema, names: columns.to_vec(), builders: builders?, waiting: 0 });
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        let Some(open) = &mut self.open else { return Err(ExportError::OneTable("Parquet")) };
        self.rows += 1;
        for ((builder, cell), column) in open.builders.iter_mut().zip(cells).zip(&open.names) {
            builder.push(cell, self.scale).map_err(|why| ExportError::Value {
                row: self.rows,
                column: column.name.clone().into_owned(),
                why,
            })?;
        }
        open.waiting += 1;
        if open.waiting >= BATCH { Self::pass_on(open) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        Ok(())
    }

    fn finish(mut self: Box<Self>, _summary: &[(&str, String)]) -> Result<(), ExportError> {
        if let Some(mut open) = self.open.take() {
            Self::pass_on(&mut open)?;
            let mut target = open.writer.into_inner()?;
            target.flush()?;
        }
        Ok(())
    }
}
