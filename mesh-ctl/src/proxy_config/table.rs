//! Columns of text, aligned as `istioctl` aligns them.

use std::fmt::Write;

/// Spaces between columns.
const GAP: usize = 5;

/// A header and rows with as many cells.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this header.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { rows: vec![header.map(str::to_owned).to_vec()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The text. The last column is not padded.
    ///
    /// Cells are what proxies say, so control characters in them are shown as `?`.
    pub fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row: &Vec<String>| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let cell: String =
                    cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
                let last = column + 1 == row.len();
                let pad = if last { 0 } else { widths.get(column).copied().unwrap_or(0) + GAP };
                // Writing to a string does not fail.
                let _written = write!(line, "{cell:<pad$}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_control_characters_shown() {
        let mut table = Table::new(["NAME", "TYPE"]);
        table.row(["reviews.default".to_owned(), "EDS".to_owned()]);
        table.row(["a\u{1b}[2J".to_owned(), String::new()]);
        assert_eq!(table.text(), "NAME                TYPE\nreviews.default     EDS\na?[2J\n");
    }
}
