//! An exploration in pieces, for several threads.

use super::Exhaustive;
use crate::search::explore::parent::Parent;

/// How far the pieces of a level were handed out.
#[derive(Debug)]
pub(crate) struct PieceCursor {
    level: usize,
    parents: usize,
    root: Option<Parent>,
}

/// An exploration in pieces, which may be run apart from one another: each is an explorer of its own, and when it has
/// handed out all of its runs it is put back, in the order in which pieces were taken. Until then the explorer that
/// they are pieces of is as if nothing had been taken.
impl Exhaustive {
    /// To take pieces from, from here on.
    pub(crate) fn ahead(&self) -> PieceCursor {
        debug_assert!(self.level == 0 || self.parent.as_ref().is_none_or(|p| p.to_come(&self.bounds) == 0));
        PieceCursor {
            level: self.level,
            parents: self.done,
            root: self.parent.clone().filter(|parent| parent.deviations.is_empty()),
        }
    }

    /// The next piece, of at most so many scenarios of this level (of the first level: runs); none when all of the level
    /// are handed out.
    pub(crate) fn piece(&self, ahead: &mut PieceCursor, most: usize) -> Option<Self> {
        debug_assert_eq!(ahead.level, self.level, "pieces of a level that is over");
        let piece = Self {
            share: self.share,
            is_piece: true,
            reduces: self.reduces,
            level: self.level,
            started: true,
            ..Self::new(self.bounds.clone())
        };
        if let Some(root) = &mut ahead.root {
            let parent = Parent { left: most, ..root.clone() };
            let taken = (0..most).take_while(|_| root.next(&self.bounds).is_some()).count();
            return (taken > 0).then_some(Self { parent: Some(parent), ..piece });
        }
        let all = self.digests.len();
        let (from, to) = (ahead.parents, all.min(ahead.parents + most));
        ahead.parents = to;
        let frontier = self.frontier[from * self.level..to * self.level].to_vec();
        (from < to).then(|| Self { frontier, digests: self.digests[from..to].to_vec(), ..piece })
    }

    /// How many scenarios of this level are not in a piece yet (of the first level: runs).
    pub(crate) fn left(&self, ahead: &PieceCursor) -> usize {
        match &ahead.root {
            Some(root) => root.to_come(&self.bounds) as usize,
            None => self.digests.len() - ahead.parents,
        }
    }

    /// Puts back a piece that has handed out all of its runs.
    pub(crate) fn put_back(&mut self, piece: Self) {
        debug_assert_eq!(piece.level, self.level, "a piece of a level that is over");
        self.runs += piece.runs;
        self.reduced += piece.reduced;
        self.following.extend(piece.following);
        self.following_digests.extend(piece.following_digests);
        self.following_records.extend(piece.following_records);
        self.done += piece.done;
        if let (0, Some(mine), Some(its)) = (self.level, &mut self.parent, piece.parent) {
            (mine.at, mine.option, mine.children) = (its.at, its.option, its.children);
        }
    }

    /// Goes on to the next level when all pieces of this one are back. False: there is none.
    pub(crate) fn next_level(&mut self) -> bool {
        self.deepen()
    }
}
