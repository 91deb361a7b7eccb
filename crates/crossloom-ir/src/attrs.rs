//! Attributes of ops in their printed form: `{eps = 1e-6, axes = [0, 1], causal = true}`.

use std::fmt;

/// A printed attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// A whole number.
    Int(i64),
    /// A real number; printed so that it reads back exactly.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A bare word, such as `gelu_tanh`.
    Word(String),
    /// A list.
    List(Vec<Attr>),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(i) => write!(f, "{i}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Word(w) => f.write_str(w),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Named attributes in printing order; reading takes them out, so that unknown ones are found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(Vec<(String, Attr)>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// All of them, in order.
    pub fn entries(&self) -> &[(String, Attr)] {
        &self.0
    }

    /// Adds an attribute of any kind.
    pub fn push(&mut self, name: &str, value: Attr) {
        self.0.push((name.to_owned(), value));
    }

    /// The same with a whole number added.
    #[must_use]
    pub fn int(mut self, name: &str, value: usize) -> Self {
        self.push(name, Attr::Int(value as i64));
        self
    }

    /// The same with a real number added.
    #[must_use]
    pub fn float(mut self, name: &str, value: f64) -> Self {
        self.push(name, Attr::Float(value));
        self
    }

    /// The same with a flag added; a false flag is left out, which is how it reads back.
    #[must_use]
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        if value {
            self.push(name, Attr::Bool(true));
        }
        self
    }

    /// The same with a word added.
    #[must_use]
    pub fn word(mut self, name: &str, value: &str) -> Self {
        self.push(name, Attr::Word(value.to_owned()));
        self
    }

    /// The same with a list of whole numbers added.
    #[must_use]
    pub fn ints(mut self, name: &str, values: &[usize]) -> Self {
        self.push(name, Attr::List(values.iter().map(|&v| Attr::Int(v as i64)).collect()));
        self
    }

    fn take(&mut self, name: &str) -> Option<Attr> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes out a whole number that is not negative.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn take_int(&mut self, name: &str) -> Result<usize, String> {
        match self.take(name) {
            Some(Attr::Int(i)) => usize::try_from(i).map_err(|_| format!("attribute `{name}` is negative")),
            Some(other) => Err(format!("attribute `{name}` must be a whole number, not {other}")),
            None => Err(format!("attribute `{name}` is missing")),
        }
    }

    /// Takes out a real number; a whole number is accepted.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn take_float(&mut self, name: &str) -> Result<f64, String> {
        match self.take(name) {
            Some(Attr::Float(x)) => Ok(x),
            Some(Attr::Int(i)) => Ok(i as f64),
            Some(other) => Err(format!("attribute `{name}` must be a number, not {other}")),
            None => Err(format!("attribute `{name}` is missing")),
        }
    }

    /// Takes out a flag; a missing one is false.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            Some(Attr::Bool(b)) => Ok(b),
            Some(other) => Err(format!("attribute `{name}` must be true or false, not {other}")),
            None => Ok(false),
        }
    }

    /// Takes out a word and turns it into what it names.
    ///
    /// # Errors
    /// When it is missing, no word, or names nothing known.
    pub fn take_word<T>(&mut self, name: &str, named: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        match self.take(name) {
            Some(Attr::Word(w)) => named(&w).ok_or_else(|| format!("attribute `{name}` cannot be `{w}`")),
            Some(other) => Err(format!("attribute `{name}` must be a word, not {other}")),
            None => Err(format!("attribute `{name}` is missing")),
        }
    }

    /// Takes out a list of attributes of any kind.
    ///
    /// # Errors
    /// When it is missing or no list.
    pub fn take_list(&mut self, name: &str) -> Result<Vec<Attr>, String> {
        match self.take(name) {
            Some(Attr::List(items)) => Ok(items),
            Some(other) => Err(format!("attribute `{name}` must be a list, not {other}")),
            None => Err(format!("attribute `{name}` is missing")),
        }
    }

    /// Takes out a list of whole numbers that are not negative.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn take_ints(&mut self, name: &str) -> Result<Vec<usize>, String> {
        let bad = |item: &Attr| format!("attribute `{name}` must list whole numbers, not {item}");
        self.take_list(name)?
            .iter()
            .map(|item| match item {
                Attr::Int(i) => usize::try_from(*i).map_err(|_| bad(item)),
                _ => Err(bad(item)),
            })
            .collect()
    }

    /// The same of a list that may be missing.
    ///
    /// # Errors
    /// When it is something else.
    pub fn take_ints_if_there(&mut self, name: &str) -> Result<Option<Vec<usize>>, String> {
        let there = self.0.iter().any(|(known, _)| known == name);
        there.then(|| self.take_ints(name)).transpose()
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// Names the attributes that no reader asked for.
    pub fn finish(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.0.into_iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(format!("unknown attribute {}", names.join(", ")))
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        f.write_str(" {")?;
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} = {value}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}
