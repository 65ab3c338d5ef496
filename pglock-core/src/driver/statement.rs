//! A constant SQL text and the values to bind to it.

/// A statement for an SQL client: a constant text and the values to bind.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    sql: &'static str,
    params: Params<'a>,
}

/// Enough for every statement.
const MOST: usize = 5;

type Params<'a> = [Option<Param<'a>>; MOST];

/// A value to bind.
#[derive(Clone, Copy, PartialEq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "an adapter must bind every type there is")]
pub enum Param<'a> {
    /// `int8`
    Int8(i64),
    /// `text`
    Text(&'a str),
    /// `int2[]`
    Int2Array(&'a [i16]),
    /// `int8[]`
    Int8Array(&'a [i64]),
}

impl<'a> Statement<'a> {
    pub(crate) fn new<const N: usize>(sql: &'static str, values: [Param<'a>; N]) -> Self {
        const { assert!(N <= MOST) };
        let mut params = [None; MOST];
        for (param, value) in params.iter_mut().zip(values) {
            *param = Some(value);
        }
        Self { sql, params }
    }

    /// The text. There are few texts, all constant, so a session can prepare each one once.
    pub fn sql(&self) -> &'static str {
        self.sql
    }

    /// The values of `$1`, `$2` … in the text.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        self.params.into_iter().flatten()
    }
}
