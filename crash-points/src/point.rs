//! The data of a point. The attribute writes the tables, and nothing is computed at run time.

#[cfg(feature = "enabled")]
use std::fmt;

/// A function with crash points. There is one value for each such function, in a `static`, regardless of type
/// arguments.
#[derive(Debug)]
pub struct Function {
    /// `Type::method` if the attribute is on an `impl` block, otherwise only the function's name, because the
    /// attribute cannot see more.
    pub name: &'static str,
    /// The `module_path!()` of the function.
    pub module: &'static str,
    /// The source file, as in `file!()`.
    pub file: &'static str,
    /// Its points, in the order of the source.
    pub points: &'static [Place],
}

/// The place of a point: that of the next statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
}

/// A place to die.
#[cfg(feature = "enabled")]
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The function of the point.
    pub function: &'static Function,
    /// The index of the point in [`Function::points`]. Two points can have the same place (a macro wrote the code),
    /// but not the same ordinal.
    pub ordinal: u32,
}

#[cfg(feature = "enabled")]
impl Point {
    /// The place of the point.
    #[must_use]
    pub fn place(&self) -> Place {
        self.function.points[self.ordinal as usize]
    }
}

/// `src/order.rs:12:5`
#[cfg(feature = "enabled")]
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place();
        write!(f, "{}:{line}:{column}", self.function.file)
    }
}
