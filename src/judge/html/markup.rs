//! Writes HTML. Only constants are written as they are: every other text is escaped, so it cannot be markup.

use crate::judge::report::words::visible;

/// Attributes with their values.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A piece of HTML whose elements are closed.
#[derive(Debug, Default)]
pub(super) struct Markup {
    html: String,
}

impl Markup {
    pub(super) fn len(&self) -> usize {
        self.html.len()
    }

    pub(super) fn into_html(self) -> String {
        self.html
    }

    /// Writes an element with content.
    pub(super) fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        content: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        content(self);
        self.html.push_str("</");
        self.html.push_str(tag);
        self.html.push('>');
    }

    /// Writes an element with a text.
    pub(super) fn leaf(&mut self, tag: &'static str, class: &str, text: &str) {
        let attributes = [("class", class)];
        self.element(tag, if class.is_empty() { &[] } else { &attributes }, |html| html.text(text));
    }

    /// Writes an element that has no content and is not closed.
    pub(super) fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.open(tag, attributes);
    }

    fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.html.push('<');
        self.html.push_str(tag);
        for (name, value) in attributes {
            self.html.push(' ');
            self.html.push_str(name);
            self.html.push_str("=\"");
            self.text(value);
            self.html.push('"');
        }
        self.html.push('>');
    }

    pub(super) fn text(&mut self, text: &str) {
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                self.html.push('\n');
            }
            for c in visible(line).chars() {
                match c {
                    '&' => self.html.push_str("&amp;"),
                    '<' => self.html.push_str("&lt;"),
                    '>' => self.html.push_str("&gt;"),
                    '"' => self.html.push_str("&quot;"),
                    '\'' => self.html.push_str("&#39;"),
                    c => self.html.push(c),
                }
            }
        }
    }

    /// Writes a constant as it is.
    pub(super) fn constant(&mut self, html: &'static str) {
        self.html.push_str(html);
    }

    /// Appends other HTML of this writer.
    pub(super) fn append(&mut self, other: Markup) {
        self.html.push_str(&other.html);
    }

    /// Appends HTML that this version has written to a file.
    pub(super) fn append_stored(&mut self, html: &str) {
        self.html.push_str(html);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let mut html = Markup::default();
        html.element("p", &[("title", "\"><b onclick='x'>&")], |html| {
            html.text("</p><script>alert(1)</script>\n\u{202e}\u{1b}[2J&amp;");
        });
        assert_eq!(
            html.into_html(),
            "<p title=\"&quot;&gt;&lt;b onclick=&#39;x&#39;&gt;&amp;\">\
             &lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;\n\\u{202e}\\u{1b}[2J&amp;amp;</p>"
        );
    }
}
