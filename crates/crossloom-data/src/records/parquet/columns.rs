//! Which columns of a file make a sample, and how the values of a row are put together again.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::ByteArray;
use parquet::schema::types::{Type, TypePtr};

/// Columns with what is said.
const SAID: [&str; 4] = ["conversations", "messages", "question", "answer"];
/// Columns with pictures.
const SHOWN: [&str; 2] = ["image", "images"];

/// What a column is made of. Columns that hold neither texts nor bytes are left out.
#[derive(Debug)]
enum Node {
    /// Texts or bytes: the number of the column in the file, and the level at which a value is there.
    Leaf { column: usize, level: i16, text: bool },
    /// Named values, which are there at a level.
    Group { fields: Vec<(String, Node)>, level: i16 },
    /// Values of which there is one at a level at least; another begins where this level repeats.
    List { element: Box<Node>, level: i16, repeats: i16 },
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    /// Bytes, and whether the file says that they are a text.
    Bytes(ByteArray, bool),
    List(Vec<Value>),
    Group(Vec<(String, Value)>),
}

/// The values of one column in one row: levels of repetition and definition, and values where the latter is the column's highest.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) levels: Vec<(i16, i16)>,
    pub(super) values: Vec<ByteArray>,
    /// How many of both were taken.
    pub(super) taken: (usize, usize),
}

/// The values of a row: what is said, by the names of columns, and what is shown.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) said: Vec<(String, Value)>,
    pub(super) shown: Vec<Value>,
}

/// The columns of a file that make a sample.
#[derive(Debug)]
pub(super) struct Columns {
    roots: Vec<(String, Node)>,
}

impl Columns {
    /// Finds them by their names.
    ///
    /// # Errors
    /// There are none that say something.
    pub(super) fn of(schema: &Type) -> Result<Self, String> {
        let (mut roots, mut names, mut next) = (Vec::new(), Vec::new(), 0);
        for field in schema.get_fields() {
            let node = node(field, (0, 0), &mut next);
            names.push(format!("`{}`", field.name()));
            if SAID.iter().chain(&SHOWN).any(|&name| name == field.name())
                && let Some(node) = node
            {
                roots.push((field.name().to_owned(), node));
            }
        }
        let has = |name: &str| roots.iter().any(|(root, _)| root == name);
        if has("conversations") || has("messages") || (has("question") && has("answer")) {
            return Ok(Self { roots });
        }
        let names = names.join(", ");
        Err(format!(
            "it has the columns {names}: `conversations`, `messages`, or `question` and `answer` are expected"
        ))
    }

    /// The numbers of the columns that are read.
    pub(super) fn leaves(&self) -> Vec<usize> {
        let mut leaves = Vec::new();
        for (_, node) in &self.roots {
            node.leaves(&mut leaves);
        }
        leaves
    }

    /// The values of a row: what is said by name, and what is shown. `entries` are those of the columns by their numbers.
    pub(super) fn row(&self, entries: &mut dyn FnMut(usize) -> Option<Entries>) -> Option<Row> {
        let mut row = Row::default();
        for (name, root) in &self.roots {
            let mut leaves = Vec::new();
            root.leaves(&mut leaves);
            let mut of =
                leaves.into_iter().map(|leaf| Some((leaf, entries(leaf)?))).collect::<Option<Vec<_>>>()?;
            let value = root.value(&mut of)?;
            // Columns of one value agree on how many there are.
            if !of.iter().all(|(_, entries)| entries.taken.0 == entries.levels.len()) {
                return None;
            }
            if SHOWN.contains(&name.as_str()) {
                row.shown.push(value);
            } else {
                row.said.push((name.clone(), value));
            }
        }
        Some(row)
    }
}

/// A column with all below it. `next` counts the columns that hold values, in the order of the file.
fn node(of: &TypePtr, (mut level, mut repeats): (i16, i16), next: &mut usize) -> Option<Node> {
    let info = of.get_basic_info();
    let repetition = if info.has_repetition() { info.repetition() } else { Repetition::REQUIRED };
    level += i16::from(repetition != Repetition::REQUIRED);
    repeats += i16::from(repetition == Repetition::REPEATED);
    let content = match of.as_ref() {
        Type::PrimitiveType { physical_type, .. } => {
            *next += 1;
            let text = info.converted_type() == ConvertedType::UTF8
                || matches!(info.logical_type_ref(), Some(LogicalType::String));
            (*physical_type == Physical::BYTE_ARRAY).then_some(Node::Leaf { column: *next - 1, level, text })
        }
        Type::GroupType { fields, .. } => match &fields[..] {
            [only] if is_list(of, only) => node(only, (level, repeats), next),
            // What stands between a list and its elements.
            [only] if repetition == Repetition::REPEATED => node(only, (level, repeats), next),
            fields => {
                let mut inner = Vec::new();
                for field in fields {
                    let node = node(field, (level, repeats), next);
                    inner.extend(node.map(|node| (field.name().to_owned(), node)));
                }
                (!inner.is_empty()).then_some(Node::Group { fields: inner, level })
            }
        },
    };
    let content = content?;
    if repetition == Repetition::REPEATED {
        return Some(Node::List { element: Box::new(content), level, repeats });
    }
    Some(content)
}

fn is_list(of: &Type, only: &Type) -> bool {
    let info = of.get_basic_info();
    let annotated = info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List));
    let only = only.get_basic_info();
    annotated && only.has_repetition() && only.repetition() == Repetition::REPEATED
}

impl Node {
    fn leaves(&self, to: &mut Vec<usize>) {
        match self {
            Self::Leaf { column, .. } => to.push(*column),
            Self::Group { fields, .. } => fields.iter().for_each(|(_, field)| field.leaves(to)),
            Self::List { element, .. } => element.leaves(to),
        }
    }

    /// The number of the first column below it.
    fn first(&self) -> Option<usize> {
        match self {
            Self::Leaf { column, .. } => Some(*column),
            Self::Group { fields, .. } => fields.first()?.1.first(),
            Self::List { element, .. } => element.first(),
        }
    }

    /// Takes the next value; none where its columns do not agree.
    fn value(&self, of: &mut [(usize, Entries)]) -> Option<Value> {
        let (_, definition) = next(of, self.first()?)?;
        match self {
            Self::Leaf { column, level, text } => {
                let entries = entries(of, *column)?;
                entries.taken.0 += 1;
                if definition < *level {
                    return Some(Value::Null);
                }
                entries.taken.1 += 1;
                Some(Value::Bytes(entries.values.get(entries.taken.1 - 1)?.clone(), *text))
            }
            Self::Group { level, .. } if definition < *level => self.nothing(of, Value::Null),
            Self::Group { fields, .. } => {
                let values = fields.iter().map(|(name, field)| Some((name.clone(), field.value(of)?)));
                Some(Value::Group(values.collect::<Option<_>>()?))
            }
            Self::List { level, .. } if definition < *level => self.nothing(of, Value::List(Vec::new())),
            Self::List { element, repeats, .. } => {
                let mut values = vec![element.value(of)?];
                while next(of, self.first()?).is_some_and(|(repetition, _)| repetition == *repeats) {
                    values.push(element.value(of)?);
                }
                Some(Value::List(values))
            }
        }
    }

    /// Takes what stands in each of its columns for a value that is not there.
    fn nothing(&self, of: &mut [(usize, Entries)], value: Value) -> Option<Value> {
        let mut leaves = Vec::new();
        self.leaves(&mut leaves);
        for leaf in leaves {
            entries(of, leaf)?.taken.0 += 1;
        }
        Some(value)
    }
}

fn entries(of: &mut [(usize, Entries)], column: usize) -> Option<&mut Entries> {
    of.iter_mut().find(|(number, _)| *number == column).map(|(_, entries)| entries)
}

/// The levels of a column's next value.
fn next(of: &mut [(usize, Entries)], column: usize) -> Option<(i16, i16)> {
    let entries = entries(of, column)?;
    entries.levels.get(entries.taken.0).copied()
}
