//! How the demo looks: titles, evidence, and one line that moves. On a terminal in colours, unless
//! `NO_COLOR` is set; elsewhere plain lines, and no line that moves.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two pictures of the line that moves.
const EVERY: Duration = Duration::from_millis(80);
/// Cells of the bar.
const BAR: usize = 28;

pub struct Screen {
    colours: bool,
    moves: bool,
    drawn: Option<Instant>,
}

impl Screen {
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: terminal && !no_colour, moves: terminal, drawn: None }
    }

    /// A step begins.
    pub fn title(&mut self, number: usize, title: &str) {
        let rule = "─".repeat(72_usize.saturating_sub(title.chars().count()));
        let (bold, dim) = (self.paint("1;36"), self.paint("2"));
        let end = self.paint("0");
        self.line(&format!("\n{bold}{number}  {title}{end} {dim}{rule}{end}"));
    }

    /// Evidence, one or more lines.
    pub fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.line(&if line.is_empty() { String::new() } else { format!("   {line}") });
        }
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.line("");
    }

    /// Something that was asked for was seen.
    pub fn seen(&mut self, text: &str) {
        let (green, end) = (self.paint("32"), self.paint("0"));
        self.line(&format!("   {green}✓{end} {text}"));
    }

    /// Something that was asked for was not seen.
    pub fn not_seen(&mut self, text: &str) {
        let (red, end) = (self.paint("1;31"), self.paint("0"));
        self.line(&format!("   {red}✗ not seen:{end} {text}"));
    }

    /// What a person must look at.
    pub fn alarm(&mut self, text: &str) {
        let (yellow, end) = (self.paint("33"), self.paint("0"));
        for line in text.lines() {
            self.line(&format!("   {yellow}{line}{end}"));
        }
    }

    /// The line that moves: how much of how much, and a word about it.
    pub fn progress(&mut self, done: u64, all: u64, word: &str) {
        if !self.moves || self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return;
        }
        let share = (done as f64 / all.max(1) as f64).clamp(0.0, 1.0);
        let eighths = (share * (BAR * 8) as f64) as usize;
        let mut bar = "█".repeat(eighths / 8);
        if !eighths.is_multiple_of(8) {
            bar.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
        }
        let cyan = self.paint("36");
        let end = self.paint("0");
        let text = format!(
            "\r\x1b[K   {cyan}{bar:<BAR$}{end} {:>3.0} %  {:>9} {word}",
            share * 100.0,
            thousands(done)
        );
        let mut out = std::io::stdout().lock();
        // A reader that went away is no fault of ours.
        let _ = write!(out, "{text}").and_then(|()| out.flush());
        self.drawn = Some(Instant::now());
    }

    fn line(&mut self, text: &str) {
        let clear = if self.drawn.take().is_some() { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stdout(), "{clear}{text}");
    }

    fn paint(&self, code: &str) -> String {
        if self.colours { format!("\x1b[{code}m") } else { String::new() }
    }
}

/// A number as people read it.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + 4);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A cell of a table: at most so many characters.
pub fn cut(text: &str, chars_max: usize) -> String {
    match text.chars().count() > chars_max {
        true => text.chars().take(chars_max - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_cells_are_cut_as_people_read_them() {
        let numbers = [0, 999, 1_000, 12_345, 1_234_567].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!((cut("abcd", 4), cut("abcde", 4)), ("abcd".to_owned(), "abc…".to_owned()));
    }
}
