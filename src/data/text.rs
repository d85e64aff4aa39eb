//! Text as one long string of characters, and the order in which a recurrent network reads it.
//!
//! A network that carries its state from one step of training to the next must be given, in each row of a batch, the
//! text that follows what the row held before. So the text is cut into as many strips as a batch has rows, and all rows
//! move down their strips together, a window at a time.

use std::path::Path;

use crate::error::{Error, Result};

/// The characters of a text, each with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    characters: Vec<char>,
}

impl Vocabulary {
    /// The characters that occur in a text, in the order of their code points.
    pub fn of(text: &str) -> Vocabulary {
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        Vocabulary { characters }
    }

    /// The number of characters.
    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.characters.is_empty()
    }

    /// The characters in order, as one string: [`Vocabulary::of`] makes the same vocabulary of it again.
    pub fn characters(&self) -> String {
        self.characters.iter().collect()
    }

    /// The numbers of a text's characters.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the first character that has none.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let number = |(place, c): (usize, char)| match self.characters.binary_search(&c) {
            Ok(number) => Ok(number as u32),
            Err(_) => {
                let shown: String = self.characters.iter().filter(|c| !c.is_whitespace()).collect();
                let remedy = format!("use only characters of the text it was trained on: {shown}, and its white space");
                Err(Error::argument(format!("the character {c:?} at place {place} was never seen"), remedy))
            }
        };
        text.chars().enumerate().map(number).collect()
    }

    /// The text of numbers.
    ///
    /// # Panics
    /// If a number is not that of a character.
    #[track_caller]
    pub fn decode(&self, numbers: &[u32]) -> String {
        numbers.iter().map(|&n| self.characters[n as usize]).collect()
    }
}

/// A text cut in two: what a network learns from, and what it is judged by.
#[derive(Debug, Clone)]
pub struct Text {
    /// Its characters.
    pub vocabulary: Vocabulary,
    /// The numbers of the first part.
    pub train: Vec<u32>,
    /// The numbers of the rest.
    pub validation: Vec<u32>,
}

impl Text {
    /// Keeps the last `share` of the text for validation.
    ///
    /// # Errors
    /// [`Error::Argument`] if the text is empty or made of one character, or the share is not from 0 to below 1.
    pub fn new(text: &str, share: f64) -> Result<Text> {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::argument(format!("a validation share of {share}"), "use 0 to below 1"));
        }
        let vocabulary = Vocabulary::of(text);
        if vocabulary.len() < 2 {
            let what = if text.is_empty() { "the text is empty" } else { "the text repeats one character" };
            return Err(Error::argument(what, "give a text with something to learn"));
        }
        let mut train = vocabulary.encode(text)?;
        let kept = ((train.len() as f64 * (1.0 - share)).round() as usize).clamp(1, train.len());
        let validation = train.split_off(kept);
        Ok(Text { vocabulary, train, validation })
    }

    /// Reads a text file in UTF-8.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, is empty, or is no text.
    pub fn read(path: &Path) -> Result<String> {
        let fault = |problem: String, remedy: &str| Err(Error::file(path, problem, remedy));
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => return fault(format!("cannot be read: {e}"), "Name a text file, or a folder that holds one"),
        };
        if bytes.is_empty() {
            return fault("is empty".into(), "Give a text with something to learn");
        }
        if let Some(place) = bytes.iter().position(|&b| b == 0) {
            return fault(format!("is no text: byte {place} is 0"), "Give a plain text file in UTF-8");
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text)),
            Err(e) => {
                let place = e.utf8_error().valid_up_to();
                fault(format!("is no text in UTF-8: byte {place} begins no character"), "Convert it, e.g. with iconv")
            }
        }
    }

    /// The text of a file, or of the one `.txt` file in a folder or in its folder `shakespeare`.
    ///
    /// # Errors
    /// As [`Text::read`], or if the folder holds no text file, or several.
    pub fn find(path: &Path) -> Result<(String, std::path::PathBuf)> {
        if !path.is_dir() {
            return Ok((Text::read(path)?, path.to_path_buf()));
        }
        for folder in [path.to_path_buf(), path.join("shakespeare")] {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            let mut found: Vec<_> = entries.flatten().map(|e| e.path()).collect();
            found.retain(|p| p.extension().is_some_and(|e| e == "txt") && p.is_file());
            found.sort();
            match &found[..] {
                [] => {}
                [one] => return Ok((Text::read(one)?, one.clone())),
                _ => {
                    let problem = format!("holds {} text files", found.len());
                    return Err(Error::file(&folder, problem, "Name one of them"));
                }
            }
        }
        Err(Error::file(path, "holds no text file", "Name a file, or a folder with one .txt file in it"))
    }
}

/// A window on all strips of a text: rows of a batch in step with each other, time first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The characters, `[steps, rows]`.
    pub inputs: Vec<u32>,
    /// The characters that follow, `[steps, rows]`.
    pub targets: Vec<u32>,
    /// The number of steps.
    pub steps: usize,
    /// Whether the rows begin here: there is no state to carry on.
    pub fresh: bool,
}

/// Walks down a text in strips, one per row of a batch, window by window and round again.
#[derive(Debug, Clone)]
pub struct Strips {
    numbers: Vec<u32>,
    rows: usize,
    /// Characters of a strip that are read; the last of them is only a target.
    length: usize,
    steps: usize,
    at: u64,
}

impl Strips {
    /// Strips of equal length of `numbers` for a batch of `rows`, read `steps` characters at a time.
    ///
    /// # Errors
    /// [`Error::Argument`] if rows or steps are 0, or the text is too short for one window.
    pub fn new(numbers: Vec<u32>, rows: usize, steps: usize) -> Result<Strips> {
        if rows == 0 || steps == 0 {
            return Err(Error::argument(
                format!("a batch of {rows} rows of {steps} characters"),
                "use at least 1 of each",
            ));
        }
        // Each strip ends with the first character of the next: that is the target of its last.
        let length = numbers.len().saturating_sub(1) / rows;
        if length < steps {
            let needed = rows.saturating_mul(steps).saturating_add(1);
            return Err(Error::argument(
                format!("a text of {} characters for {rows} rows of {steps}", numbers.len()),
                format!("give at least {needed} characters, or use fewer rows or a shorter context"),
            ));
        }
        Ok(Strips { numbers, rows, length, steps, at: 0 })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Windows of full length in one round.
    pub fn round(&self) -> u64 {
        (self.length / self.steps) as u64
    }

    /// Windows handed out so far.
    pub fn handed_out(&self) -> u64 {
        self.at
    }

    /// Goes on as if so many windows had been handed out.
    pub fn resume_at(&mut self, windows: u64) {
        self.at = windows;
    }

    /// The next window. What is left of the strips when no full window fits is skipped.
    pub fn next_window(&mut self) -> Window {
        let place = (self.at % self.round()) as usize;
        self.at += 1;
        self.window(place * self.steps, self.steps)
    }

    /// One round from the beginning, with the shorter window at its end.
    pub fn once(&self) -> impl Iterator<Item = Window> + '_ {
        (0..self.length).step_by(self.steps).map(|first| self.window(first, self.steps.min(self.length - first)))
    }

    fn window(&self, first: usize, steps: usize) -> Window {
        let read = |shift: usize| {
            let at = |t: usize, row: usize| self.numbers[row * self.length + first + t + shift];
            (0..steps).flat_map(|t| (0..self.rows).map(move |row| at(t, row))).collect()
        };
        Window { inputs: read(0), targets: read(1), steps, fresh: first == 0 }
    }
}
