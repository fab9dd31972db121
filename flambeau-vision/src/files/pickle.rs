//! Python pickles as data: a reader that runs no code.
//!
//! A pickle is a program for a little stack machine, and in Python that program may call any
//! function. Here it may not: the machine builds a table of values, and the only names it knows
//! are the handful by which numpy's arrays are spelled. Every other name is an error that says
//! it. Read are the protocols 0 to 5 as far as plain data needs them: numbers, strings, lists,
//! tuples, dicts, arrays.
//!
//! Source: Python's `pickletools`, which documents every opcode.
//!
//! Memory and time are bounded by the input: strings and arrays borrow from it, an opcode makes
//! at most one value, and the number of opcodes is limited. Values refer to each other by
//! number, so a pickle that shares or nests values a million times over costs no more than it
//! says, and reading it does not recurse.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;

mod numpy;
#[cfg(test)]
mod tests;

pub use numpy::Array;

/// No pickle with more opcodes than this is read (CIFAR-100's training set has 0.4 million).
const MAX_STEPS: usize = 4_000_000;

/// Number of a value in the table.
type Id = u32;

/// A pickle that was read; [`Pickle::root`] is what was pickled.
#[derive(Debug)]
pub struct Pickle<'a> {
    values: Vec<Raw<'a>>,
    root: Id,
}

/// A value as the machine holds it.
#[derive(Debug, Clone)]
enum Raw<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Bytes(Cow<'a, [u8]>),
    Str(Cow<'a, str>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(numpy::Name),
    Dtype(numpy::Dtype),
    Array(numpy::RawArray),
}

/// A value of a pickle.
#[derive(Debug, Clone, Copy)]
pub struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    id: Id,
}

/// Why a pickle could not be read: what is wrong and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickleError {
    /// The offset of the opcode at fault.
    pub offset: usize,
    /// What is wrong.
    pub problem: String,
}

impl Display for PickleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pickle, byte {}: {}", self.offset, self.problem)
    }
}

impl std::error::Error for PickleError {}

impl<'a> Pickle<'a> {
    /// Reads a pickle.
    ///
    /// ```
    /// use flambeau_vision::files::pickle::Pickle;
    ///
    /// // pickle.dumps({"labels": [6, 9]}, protocol=2)
    /// let pickle = Pickle::read(b"\x80\x02}q\0X\x06\0\0\0labelsq\x01]q\x02(K\x06K\x09es.").unwrap();
    /// let labels = pickle.root().get("labels").unwrap();
    /// let labels: Vec<_> = labels.items().unwrap().map(|v| v.int().unwrap()).collect();
    /// assert_eq!(labels, [6, 9]);
    /// // pickle.dumps(os.system): named, not run.
    /// let error = Pickle::read(b"cposix\nsystem\n.").unwrap_err();
    /// assert!(error.to_string().contains("posix.system"));
    /// ```
    ///
    /// # Errors
    /// When the pickle is cut off or damaged, uses an opcode or a name that plain data does not
    /// need, or has more than four million opcodes.
    pub fn read(input: &'a [u8]) -> Result<Self, PickleError> {
        let mut machine = Machine {
            input,
            ..Machine::default()
        };
        for _ in 0..MAX_STEPS {
            let offset = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => {
                    return Ok(Self {
                        values: machine.values,
                        root,
                    });
                }
                Err(problem) => return Err(PickleError { offset, problem }),
            }
        }
        let problem = format!("more than {MAX_STEPS} opcodes");
        Err(PickleError {
            offset: machine.at,
            problem,
        })
    }

    /// What was pickled.
    pub fn root(&self) -> Value<'_, 'a> {
        Value {
            pickle: self,
            id: self.root,
        }
    }
}

impl<'p, 'a> Value<'p, 'a> {
    fn raw(self) -> &'p Raw<'a> {
        &self.pickle.values[self.id as usize]
    }

    fn at(self, id: Id) -> Self {
        Self { id, ..self }
    }

    /// A dict's value under the key `key`, whether Python 2 wrote it as bytes or Python 3 as a
    /// string. `None` if there is none or this is no dict.
    pub fn get(self, key: &str) -> Option<Self> {
        let Raw::Dict(entries) = self.raw() else {
            return None;
        };
        // The last entry wins, as in Python.
        let entry = entries
            .iter()
            .rev()
            .find(|&&(k, _)| self.at(k).text() == Some(key));
        entry.map(|&(_, value)| self.at(value))
    }

    /// The items of a list or tuple.
    pub fn items(self) -> Option<impl ExactSizeIterator<Item = Self> + 'p>
    where
        'a: 'p,
    {
        match self.raw() {
            Raw::List(items) | Raw::Tuple(items) => Some(items.iter().map(move |&id| self.at(id))),
            _ => None,
        }
    }

    /// A whole number.
    pub fn int(self) -> Option<i64> {
        match self.raw() {
            Raw::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn float(self) -> Option<f64> {
        match self.raw() {
            Raw::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The bytes of a byte string (every string of Python 2).
    pub fn bytes(self) -> Option<&'p [u8]> {
        match self.raw() {
            Raw::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A string, or a byte string that is UTF-8.
    pub fn text(self) -> Option<&'p str> {
        match self.raw() {
            Raw::Str(text) => Some(text),
            Raw::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Whether this is Python's `None`.
    pub fn is_none(self) -> bool {
        matches!(self.raw(), Raw::None)
    }

    /// A truth value.
    pub fn bool(self) -> Option<bool> {
        match self.raw() {
            Raw::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A numpy array.
    pub fn array(self) -> Option<Array<'p>> {
        match self.raw() {
            Raw::Array(array) => array.view(&self.pickle.values),
            _ => None,
        }
    }
}

/// What went wrong in a step.
type Step<T> = Result<T, String>;

#[derive(Default)]
struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    values: Vec<Raw<'a>>,
    stack: Vec<Id>,
    /// The heights of the stack where a mark lies.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// One opcode; `Some` at the end.
    fn step(&mut self) -> Step<Option<Id>> {
        let opcode = self.byte()?;
        match opcode {
            // The protocol's number and frames carry nothing that is needed.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'.' => return self.pop().map(Some),

            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),

            b'N' => self.push(Raw::None),
            0x88 => self.push(Raw::Bool(true)),
            0x89 => self.push(Raw::Bool(false)),
            b'K' => self.push_int(1)?,
            b'M' => self.push_int(2)?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Raw::Int(value.into()));
            }
            0x8a => {
                let length = self.byte()?.into();
                self.push_long(length)?;
            }
            0x8b => {
                let length = self.length(4)?;
                self.push_long(length)?;
            }
            b'I' => {
                let value = match self.text_line()? {
                    "00" => Raw::Bool(false),
                    "01" => Raw::Bool(true),
                    digits => Raw::Int(parse(digits)?),
                };
                self.push(value);
            }
            b'L' => {
                let digits = self.text_line()?;
                self.push(Raw::Int(parse(digits.strip_suffix('L').unwrap_or(digits))?));
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Raw::Float(value));
            }
            b'F' => {
                let value = parse(self.text_line()?)?;
                self.push(Raw::Float(value));
            }

            b'U' | b'C' => self.push_bytes(1)?,
            b'T' | b'B' => self.push_bytes(4)?,
            0x8e | 0x96 => self.push_bytes(8)?,
            0x8c => self.push_str(1)?,
            b'X' => self.push_str(4)?,
            0x8d => self.push_str(8)?,
            b'S' => {
                let bytes = unquote(self.line()?)?;
                self.push(Raw::Bytes(bytes.into()));
            }
            b'V' => {
                let text = raw_unicode(self.line()?)?;
                self.push(Raw::Str(text.into()));
            }
            // A buffer made read-only is the same buffer here.
            0x98 => drop(self.top()?),

            b']' => self.push(Raw::List(Vec::new())),
            b')' => self.push(Raw::Tuple(Vec::new())),
            b'}' => self.push(Raw::Dict(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Raw::List(items));
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Raw::Tuple(items));
            }
            b'd' => {
                let entries = pairs(self.pop_to_mark()?)?;
                self.push(Raw::Dict(entries));
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Raw::Tuple(items));
            }
            b'a' => {
                let item = self.pop_many(1)?;
                self.append(item)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let entry = self.pop_many(2)?;
                self.set(entry)?;
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                self.set(entries)?;
            }

            b'q' => {
                let key = self.byte()?.into();
                self.remember(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            b'p' => {
                let key = parse(self.text_line()?)?;
                self.remember(key)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let key = self.byte()?.into();
                self.recall(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            b'g' => {
                let key = parse(self.text_line()?)?;
                self.recall(key)?;
            }

            b'c' => {
                let (module, name) = (self.text_line()?, self.text_line()?);
                self.push(Raw::Name(numpy::Name::find(module, name)?));
            }
            0x93 => {
                let ids = self.pop_many(2)?;
                let [Raw::Str(module), Raw::Str(name)] = [0, 1].map(|i| self.value(ids[i])) else {
                    return Err("a name that is no string".into());
                };
                let found = numpy::Name::find(module, name)?;
                self.push(Raw::Name(found));
            }
            b'R' => {
                let ids = self.pop_many(2)?;
                let (Raw::Name(name), Raw::Tuple(arguments)) =
                    (self.value(ids[0]), self.value(ids[1]))
                else {
                    return Err("a call of what is no name".into());
                };
                let made = name.call(arguments, &self.values)?;
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()? as usize;
                let built = numpy::build(&self.values[object], state, &self.values)?;
                self.values[object] = built;
            }
            other => {
                let printed = if other.is_ascii_graphic() {
                    format!("'{}'", char::from(other))
                } else {
                    format!("{other:#04x}")
                };
                return Err(format!("opcode {printed} is damaged or not read here"));
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let rest = &self.input[self.at..];
        let taken = rest.get(..count).ok_or_else(|| {
            format!(
                "the pickle is cut off: {count} bytes wanted, {} left",
                rest.len()
            )
        })?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// An unsigned number of `width` bytes, little end first.
    fn length(&mut self, width: usize) -> Step<usize> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|e| e.to_string())
    }

    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or("the pickle is cut off in a line")?)?;
        self.at += 1;
        Ok(line)
    }

    fn text_line(&mut self) -> Step<&'a str> {
        std::str::from_utf8(self.line()?).map_err(|_| "a line that is no text".into())
    }

    fn value(&self, id: Id) -> &Raw<'a> {
        &self.values[id as usize]
    }

    fn push(&mut self, value: Raw<'a>) {
        // MAX_STEPS keeps the number within u32.
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
    }

    fn push_int(&mut self, width: usize) -> Step<()> {
        let value = self.length(width)?;
        self.push(Raw::Int(value as i64));
        Ok(())
    }

    /// Two's complement, little end first, of any length; more than 64 bits is no use here.
    fn push_long(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        let target = wide
            .get_mut(..length)
            .ok_or("a number of more than 64 bits")?;
        target.copy_from_slice(bytes);
        self.push(Raw::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn push_bytes(&mut self, width: usize) -> Step<()> {
        let length = self.length(width)?;
        let bytes = self.take(length)?;
        self.push(Raw::Bytes(bytes.into()));
        Ok(())
    }

    fn push_str(&mut self, width: usize) -> Step<()> {
        let length = self.length(width)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?;
        self.push(Raw::Str(text.into()));
        Ok(())
    }

    /// How low the stack may be popped: to the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Step<Id> {
        let above = self.stack.get(self.floor()..).unwrap_or_default();
        above
            .last()
            .copied()
            .ok_or_else(|| "nothing on the stack".into())
    }

    fn pop(&mut self) -> Step<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Id>> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|&start| start >= self.floor());
        Ok(self
            .stack
            .split_off(start.ok_or("too little on the stack")?))
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let start = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(start))
    }

    fn append(&mut self, new: Vec<Id>) -> Step<()> {
        let list = self.top()? as usize;
        match &mut self.values[list] {
            Raw::List(items) => items.extend(new),
            _ => return Err("appending to what is no list".into()),
        }
        Ok(())
    }

    fn set(&mut self, new: Vec<Id>) -> Step<()> {
        let dict = self.top()? as usize;
        match &mut self.values[dict] {
            Raw::Dict(entries) => entries.extend(pairs(new)?),
            _ => return Err("setting an item of what is no dict".into()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Step<()> {
        let id = self.top()?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Step<()> {
        let id = self.memo.get(&key).copied();
        self.stack
            .push(id.ok_or_else(|| format!("nothing was remembered as {key}"))?);
        Ok(())
    }
}

fn pairs(ids: Vec<Id>) -> Step<Vec<(Id, Id)>> {
    match ids.as_chunks::<2>() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("a key without a value".into()),
    }
}

fn parse<T: std::str::FromStr>(digits: &str) -> Step<T> {
    digits
        .parse()
        .map_err(|_| format!("{digits:?} is no number that is read here"))
}

/// The bytes of a string literal of Python 2, with its quotes and escapes.
fn unquote(literal: &[u8]) -> Step<Vec<u8>> {
    let bad = || "a damaged string literal".to_owned();
    let (&quote, rest) = literal.split_first().ok_or_else(bad)?;
    let body = rest
        .strip_suffix(&[quote])
        .filter(|_| b"'\"".contains(&quote))
        .ok_or_else(bad)?;
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().ok_or_else(bad)? {
            byte @ (b'\\' | b'\'' | b'"') => byte,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.unwrap_or(b' '));
                let digit = |i: usize| char::from(digits[i]).to_digit(16).ok_or_else(bad);
                (digit(0)? * 16 + digit(1)?) as u8
            }
            _ => return Err(bad()),
        });
    }
    Ok(bytes)
}

/// Python's raw-unicode-escape: Latin-1 but for `\uXXXX` and `\UXXXXXXXX`.
fn raw_unicode(line: &[u8]) -> Step<String> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        let width = match rest {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            _ => {
                text.push(char::from(*byte));
                rest = after;
                continue;
            }
        };
        let digits = after
            .get(1..=width)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        text.push(code.and_then(char::from_u32).ok_or("a damaged string")?);
        rest = &after[1 + width..];
    }
    Ok(text)
}
