//! Aligned columns of plain text.

use std::fmt;

/// Rows with equally many cells, each on one line. Columns whose cells below the heading all begin with a digit are aligned right.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()], indent: 0 }
    }

    /// The same table with so many spaces before every row.
    #[must_use]
    pub fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row; missing cells are empty. Line breaks and other characters that a terminal obeys rather than shows become
    /// spaces.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let shown =
            |cell: String| cell.replace(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c), " ");
        let mut row: Vec<String> = cells.into_iter().take(columns).map(shown).collect();
        row.resize(columns, String::new());
        self.rows.push(row);
    }

    /// Whether it has nothing but headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let number = |cell: &str| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit());
        let layout: Vec<(usize, bool)> = (0..columns)
            .map(|column| {
                (width(column), column > 0 && self.rows.iter().skip(1).all(|row| number(&row[column])))
            })
            .collect();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (cell, (width, right)) in row.iter().zip(&layout) {
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if *right { (padding.as_str(), "") } else { ("", padding.as_str()) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_line_whatever_is_in_it() {
        let mut table = Table::new(["question", "answer"]);
        table.row(["is there\na red\r\nshape?".to_owned(), "\u{1b}[2Jno\u{2028}".to_owned()]);
        assert_eq!(table.to_string(), "question                answer\nis there a red  shape?   [2Jno\n");
    }

    #[test]
    fn numbers_are_aligned_right_and_nothing_trails() {
        let mut table = Table::new(["part", "size", "note"]).indented(1);
        table.row(["vision".to_owned(), "7".to_owned(), String::new()]);
        table.row(["gäte".to_owned(), "1,234".to_owned(), "new".to_owned()]);
        assert_eq!(table.to_string(), " part     size  note\n vision      7\n gäte    1,234  new\n");
    }
}
