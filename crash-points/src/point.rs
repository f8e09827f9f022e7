//! What a point knows of itself. The attribute writes the tables; nothing here is computed at run time.

#[cfg(feature = "enabled")]
use std::fmt;

/// A function with crash points. There is one of it for each such function, in a `static`, whichever type arguments it is
/// called with.
#[derive(Debug)]
pub struct Function {
    /// `Type::method` where the attribute is on an `impl` block, else the function's name alone: more it cannot see.
    pub name: &'static str,
    /// The `module_path!()` it is in.
    pub module: &'static str,
    /// The source file, as in `file!()`.
    pub file: &'static str,
    /// Its points in the order of the source.
    pub points: &'static [Place],
}

/// Where a point stands: at the statement that would come next.
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
    /// The function it is in.
    pub function: &'static Function,
    /// Which of the function's points it is, an index into [`Function::points`]. Two points can have one place (a macro
    /// wrote the code), but not one ordinal.
    pub ordinal: u32,
}

#[cfg(feature = "enabled")]
impl Point {
    /// Where it stands.
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
