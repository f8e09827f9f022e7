//! The words of a statement.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
    /// As it stands in the text, or the value of a parameter.
    Literal(String),
}

impl Token {
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(known) if known == word)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Sign(_) | Token::Literal(_) => None,
        }
    }
}

/// Reads a text. `values` stand for `$1` and so on.
pub(crate) fn tokens(text: &str, values: &[String]) -> Vec<Token> {
    let signs: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < signs.len() {
        let sign = signs[at];
        let next = signs.get(at + 1).copied();
        match sign {
            _ if sign.is_whitespace() => at += 1,
            '-' if next == Some('-') => {
                at += signs[at..].iter().position(|sign| *sign == '\n').unwrap_or(signs.len() - at);
            }
            '/' if next == Some('*') => at = after_comment(&signs, at),
            '\'' => {
                // `E'…'`
                let is_escaped = at > 0
                    && signs[at - 1].eq_ignore_ascii_case(&'e')
                    && tokens.last().is_some_and(|token: &Token| token.is("e"));
                if is_escaped {
                    tokens.pop();
                }
                let end = after_quote(&signs, at, '\'', is_escaped);
                tokens.push(Token::Literal(signs[at..end].iter().collect()));
                at = end;
            }
            '"' => {
                let end = after_quote(&signs, at, '"', false);
                let inner = signs[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                tokens.push(Token::Quoted(inner));
                at = end;
            }
            '$' if next.is_some_and(|sign| sign == '$' || sign.is_alphabetic() || sign == '_') => {
                match after_dollars(&signs, at) {
                    Some(end) => {
                        tokens.push(Token::Literal(signs[at..end].iter().collect()));
                        at = end;
                    }
                    None => at += 1,
                }
            }
            _ if sign.is_alphabetic() || sign == '_' => {
                let is_in = |sign: &char| sign.is_alphanumeric() || *sign == '_' || *sign == '$';
                let end =
                    signs[at..].iter().position(|sign| !is_in(sign)).map_or(signs.len(), |end| at + end);
                tokens.push(Token::Word(signs[at..end].iter().collect::<String>().to_lowercase()));
                at = end;
            }
            '$' if next.is_some_and(|sign| sign.is_ascii_digit()) => {
                let end = after_digits(&signs, at + 1);
                let name: String = signs[at..end].iter().collect();
                let value =
                    name[1..].parse::<usize>().ok().and_then(|number| values.get(number.checked_sub(1)?));
                tokens.push(Token::Literal(value.unwrap_or(&name).clone()));
                at = end;
            }
            _ if sign.is_ascii_digit() => {
                let end = after_digits(&signs, at);
                tokens.push(Token::Literal(signs[at..end].iter().collect()));
                at = end;
            }
            _ => {
                tokens.push(Token::Sign(sign));
                at += 1;
            }
        }
    }
    tokens
}

fn after_digits(signs: &[char], from: usize) -> usize {
    signs[from..].iter().position(|sign| !sign.is_ascii_digit()).map_or(signs.len(), |end| from + end)
}

fn after_comment(signs: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_u32);
    while at < signs.len() {
        match (signs[at], signs.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_quote(signs: &[char], from: usize, quote: char, is_escaped: bool) -> usize {
    let mut at = from + 1;
    while at < signs.len() {
        match signs[at] {
            '\\' if is_escaped => at += 2,
            sign if sign == quote && signs.get(at + 1) == Some(&quote) => at += 2,
            sign if sign == quote => return at + 1,
            _ => at += 1,
        }
    }
    signs.len()
}

fn after_dollars(signs: &[char], from: usize) -> Option<usize> {
    let length = signs[from + 1..].iter().position(|sign| *sign == '$')? + 2;
    let tag = &signs[from..from + length];
    if tag[1..length - 1].iter().any(|sign| !sign.is_alphanumeric() && *sign != '_') {
        return None;
    }
    let body = &signs[from + length..];
    let end = body.windows(length).position(|window| window == tag);
    Some(end.map_or(signs.len(), |end| from + length + end + length))
}
