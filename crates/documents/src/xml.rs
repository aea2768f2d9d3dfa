//! Writing XML: elements in order, text escaped, nothing that XML 1.0 forbids. And the two syntaxes
//! of an electronic invoice.

pub mod cii;
pub mod ubl;

/// Text as it stands in XML or HTML, in an element or a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            // XML 1.0 has no way to write these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

/// XML being written.
#[derive(Debug)]
pub(crate) struct Xml {
    text: String,
    open: Vec<&'static str>,
}

impl Xml {
    /// A document with a root element; `namespaces` are its attributes, written by us.
    pub(crate) fn new(root: &'static str, namespaces: &str) -> Self {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} {namespaces}>\n");
        Self { text, open: vec![root] }
    }

    fn indent(&mut self) {
        for _ in 0..self.open.len() {
            self.text.push_str("  ");
        }
    }

    /// An element with what `inner` writes; left out when that is nothing.
    pub(crate) fn within(&mut self, name: &'static str, inner: impl FnOnce(&mut Self)) {
        let before = self.text.len();
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str(">\n");
        let opened = self.text.len();
        self.open.push(name);
        inner(self);
        self.open.pop();
        if self.text.len() == opened {
            self.text.truncate(before);
            return;
        }
        self.indent();
        self.close(name);
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }

    /// An element with text.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.attributed(name, None, text);
    }

    /// The same with an attribute.
    pub(crate) fn attributed(
        &mut self,
        name: &'static str,
        attribute: Option<(&str, &str)>,
        text: &str,
    ) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        if let Some((key, value)) = attribute {
            self.text.push_str(&format!(" {key}=\"{}\"", escape(value)));
        }
        self.text.push('>');
        self.text.push_str(&escape(text));
        self.close(name);
    }

    /// An element with text, where there is some.
    pub(crate) fn maybe(&mut self, name: &'static str, text: Option<&String>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// The document.
    pub(crate) fn finish(mut self) -> String {
        while let Some(name) = self.open.pop() {
            self.close(name);
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_text() {
        let mut xml = Xml::new("r", "xmlns=\"urn:x\"");
        xml.text("a", "</a><b>&amp;\u{0}\u{8}\"'\n");
        xml.within("none", |_| {});
        xml.within("c", |xml| xml.attributed("d", Some(("k", "\"><x")), "1"));
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<r xmlns=\"urn:x\">\n  <a>&lt;/a&gt;&lt;b&gt;&amp;amp;&quot;&#39; </a>\n  <c>\n    <d k=\"&quot;&gt;&lt;x\">1</d>\n  </c>\n</r>\n"
        );
    }
}
