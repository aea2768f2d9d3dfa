//! XLSX: typed cells, the header frozen, totals as formulas, a sheet per table. Rows lie in a
//! temporary file until the end, not in memory.
//!
//! A spreadsheet calculates with 15 digits. A number with more is written as text, never rounded;
//! the total of such a column is text as well. Times are cut at the millisecond, the finest that
//! spreadsheets have. A sheet holds 1,048,576 rows: a longer table goes on in a further sheet.

use std::io::{self, Seek, Write};

use counterfoil_types::{Exact, Timestamp};
use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format, Formula, Workbook, Worksheet, XlsxError,
};

use crate::{Cell, Column, ExportError, Kind, Sink};

/// Rows of a sheet, header and totals included.
pub const MOST_ROWS: u32 = 1_048_576;
/// Characters of a cell.
const MOST_TEXT: usize = 32_767;
/// Digits a spreadsheet keeps.
const DIGITS: usize = 15;

impl From<XlsxError> for ExportError {
    fn from(error: XlsxError) -> Self {
        match error {
            XlsxError::IoError(error) => Self::Io(error),
            other => Self::Format(format!("XLSX: {other}")),
        }
    }
}

/// Cell formats.
struct Look {
    head: Format,
    time: Format,
    date: Format,
    text: Format,
    total: Format,
}

/// What is known of a column of the sheet that is being written.
#[derive(Clone)]
struct Sum {
    exact: Option<Exact>,
    as_text: bool,
}

/// The XLSX sink.
pub struct Xlsx {
    target: Box<dyn Write + Send>,
    book: Workbook,
    look: Look,
    name: String,
    columns: Vec<Column>,
    sums: Vec<Sum>,
    /// Number of the sheet within its table, from 1; 0 before the first.
    part: u32,
    sheets: usize,
    /// The next row of the sheet.
    at: u32,
    rows: u64,
    most: u32,
}

impl Xlsx {
    /// A workbook that says it was made at `made_at`.
    ///
    /// # Errors
    /// When a time is none a spreadsheet knows.
    pub fn new(target: Box<dyn Write + Send>, made_at: Timestamp) -> Result<Self, ExportError> {
        let mut book = Workbook::new();
        let seconds = made_at.micros().div_euclid(1_000_000);
        let made = ExcelDateTime::from_timestamp(seconds)
            .or_else(|_| ExcelDateTime::from_ymd(1970, 1, 1))?;
        book.set_properties(&DocProperties::new().set_creation_datetime(&made));
        let look = Look {
            head: Format::new().set_bold(),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss.000"),
            date: Format::new().set_num_format("yyyy-mm-dd"),
            text: Format::new().set_num_format("@"),
            total: Format::new().set_bold(),
        };
        Ok(Self {
            target,
            book,
            look,
            name: String::new(),
            columns: Vec::new(),
            sums: Vec::new(),
            part: 0,
            sheets: 0,
            at: 0,
            rows: 0,
            most: MOST_ROWS,
        })
    }

    fn begin(&mut self) -> Result<(), ExportError> {
        self.part += 1;
        let suffix = if self.part > 1 { format!(" ({})", self.part) } else { String::new() };
        let most = 31 - suffix.chars().count();
        let name: String = self.name.chars().take(most).collect();
        let sheet = self.book.add_worksheet_with_constant_memory()?;
        sheet.set_name(format!("{name}{suffix}"))?;
        sheet.set_freeze_panes(1, 0)?;
        for (at, column) in (0u16..).zip(&self.columns) {
            let width = match column.kind {
                Kind::Timestamp => 24,
                Kind::Json => 40,
                Kind::Date | Kind::Integer => 12,
                Kind::Text | Kind::Decimal | Kind::Exact => 18,
            };
            sheet.set_column_width(at, width)?;
            sheet.write_string_with_format(0, at, column.name.as_ref(), &self.look.head)?;
        }
        self.sheets += 1;
        self.at = 1;
        self.sums = self
            .columns
            .iter()
            .map(|column| Sum { exact: column.total.then_some(Exact::ZERO), as_text: false })
            .collect();
        Ok(())
    }

    /// Writes the totals of the sheet that was begun.
    fn end(&mut self) -> Result<(), ExportError> {
        if self.part == 0 || self.at == 1 || !self.columns.iter().any(|column| column.total) {
            return Ok(());
        }
        let (at, bold) = (self.at, &self.look.total);
        let sheet = self.book.worksheet_from_index(self.sheets - 1)?;
        for (column, sum) in (0u16..).zip(&self.sums) {
            let Some(exact) = &sum.exact else { continue };
            let shown = exact.to_string();
            if sum.as_text {
                sheet.write_string_with_format(at, column, &shown, bold)?;
                continue;
            }
            let letters = rust_xlsxwriter::utility::column_number_to_name(column);
            let formula = Formula::new(format!("=SUM({letters}2:{letters}{at})")).set_result(shown);
            sheet.write_formula_with_format(at, column, formula, bold)?;
        }
        Ok(())
    }

    fn sheet(&mut self) -> Result<&mut Worksheet, ExportError> {
        Ok(self.book.worksheet_from_index(self.sheets.saturating_sub(1))?)
    }
}

/// A number as a spreadsheet holds it, if it keeps all of its digits.
fn number(text: &str) -> Option<f64> {
    let digits = text.bytes().filter(u8::is_ascii_digit);
    let significant: Vec<u8> = digits.skip_while(|digit| *digit == b'0').collect();
    if significant.len() > DIGITS || text.contains('/') {
        return None;
    }
    text.parse().ok()
}

fn excel_time(at: Timestamp) -> Option<ExcelDateTime> {
    let civil = jiff::tz::TimeZone::UTC.to_datetime(at.to_jiff().ok()?);
    let part = |value: i8| u8::try_from(value).ok();
    let day = ExcelDateTime::from_ymd(
        u16::try_from(civil.year()).ok()?,
        part(civil.month())?,
        part(civil.day())?,
    )
    .ok()?;
    let milli = u16::try_from(civil.millisecond()).ok()?;
    day.and_hms_milli(
        u16::try_from(civil.hour()).ok()?,
        part(civil.minute())?,
        part(civil.second())?,
        milli,
    )
    .ok()
}

fn excel_date(day: jiff::civil::Date) -> Option<ExcelDateTime> {
    ExcelDateTime::from_ymd(
        u16::try_from(day.year()).ok()?,
        u8::try_from(day.month()).ok()?,
        u8::try_from(day.day()).ok()?,
    )
    .ok()
}

impl Sink for Xlsx {
    fn table(&mut self, name: &str, columns: &[Column]) -> Result<(), ExportError> {
        self.end()?;
        name.clone_into(&mut self.name);
        self.columns = columns.to_vec();
        (self.part, self.rows) = (0, 0);
        self.begin()
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        // The last row is kept for totals.
        if self.at + 1 >= self.most {
            self.end()?;
            self.begin()?;
        }
        let (at, row) = (self.at, self.rows + 1);
        (self.at, self.rows) = (at + 1, row);
        let index = self.sheets - 1;
        let (sheet, look, sums) =
            (self.book.worksheet_from_index(index)?, &self.look, &mut self.sums);
        for (column, ((cell, about), sum)) in
            (0u16..).zip(cells.iter().zip(&self.columns).zip(sums))
        {
            let mut amount = |text: &str| -> Result<(), ExportError> {
                if let Some(total) = &mut sum.exact {
                    match Exact::parse(text) {
                        Ok(value) => *total = total.add(&value),
                        Err(_) => sum.as_text = true,
                    }
                }
                match number(text) {
                    Some(value) => sheet.write_number(at, column, value)?,
                    None => {
                        sum.as_text = true;
                        sheet.write_string_with_format(at, column, text, &look.text)?
                    }
                };
                Ok(())
            };
            match cell {
                Cell::Empty => {}
                Cell::Integer(value) => amount(&value.to_string())?,
                Cell::Decimal(value) => amount(&value.to_string())?,
                Cell::Exact(value) => amount(value)?,
                Cell::Text(text) | Cell::Json(text) => {
                    let length = text.encode_utf16().count();
                    if length > MOST_TEXT {
                        return Err(ExportError::Value {
                            row,
                            column: about.name.clone().into_owned(),
                            why: format!(
                                "{length} characters; a cell of a spreadsheet holds {MOST_TEXT}: use another format"
                            ),
                        });
                    }
                    sheet.write_string(at, column, text.as_ref())?;
                }
                Cell::Timestamp(time) => match excel_time(*time) {
                    Some(value) => {
                        sheet.write_datetime_with_format(at, column, &value, &look.time)?;
                    }
                    None => {
                        sheet.write_string(at, column, time.to_string())?;
                    }
                },
                Cell::Date(day) => match excel_date(*day) {
                    Some(value) => {
                        sheet.write_datetime_with_format(at, column, &value, &look.date)?;
                    }
                    None => {
                        sheet.write_string(at, column, day.to_string())?;
                    }
                },
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        // Nothing can be handed on before the end; the sheet must exist.
        self.sheet().map(|_| ())
    }

    fn finish(mut self: Box<Self>, _summary: &[(&str, String)]) -> Result<(), ExportError> {
        self.end()?;
        let mut packed = tempfile::tempfile()?;
        self.book.save_to_writer(&mut packed)?;
        packed.rewind()?;
        io::copy(&mut packed, &mut self.target)?;
        Ok(self.target.flush()?)
    }
}
