/*-------------------------------------------------------------------------
 *
 * jsonschema/regex_property.c
 *	  JSON Schema: names of Unicode properties in regular expressions.
 *
 * ECMA-262 has short and long names of General_Category, Script and
 * Script_Extensions, and binary properties.  Of categories PCRE2 has the
 * short names only.  Names are compared exactly, as ECMA-262 demands.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex_property.c
 *
 *-------------------------------------------------------------------------
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "postgres.h"

#include <pcre2.h>

#include "jsonschema/regex.h"

/*
 * General_Category: PCRE2's name, with ^ for the complement of what it names, and ECMA-262's
 * names.
 */
static const struct
{
	const char *pcre;
	const char *names[4];
}			categories[] =
{
	{"L&", {"LC", "Cased_Letter"}},
	{"Pe", {"Pe", "Close_Punctuation"}},
	{"Pc", {"Pc", "Connector_Punctuation"}},
	{"Cc", {"Cc", "Control", "cntrl"}},
	{"Sc", {"Sc", "Currency_Symbol"}},
	{"Pd", {"Pd", "Dash_Punctuation"}},
	{"Nd", {"Nd", "Decimal_Number", "digit"}},
	{"Me", {"Me", "Enclosing_Mark"}},
	{"Pf", {"Pf", "Final_Punctuation"}},
	{"Cf", {"Cf", "Format"}},
	{"Pi", {"Pi", "Initial_Punctuation"}},
	{"L", {"L", "Letter"}},
	{"Nl", {"Nl", "Letter_Number"}},
	{"Zl", {"Zl", "Line_Separator"}},
	{"Ll", {"Ll", "Lowercase_Letter"}},
	{"M", {"M", "Mark", "Combining_Mark"}},
	{"Sm", {"Sm", "Math_Symbol"}},
	{"Lm", {"Lm", "Modifier_Letter"}},
	{"Sk", {"Sk", "Modifier_Symbol"}},
	{"Mn", {"Mn", "Nonspacing_Mark"}},
	{"N", {"N", "Number"}},
	{"Ps", {"Ps", "Open_Punctuation"}},
	{"C", {"C", "Other"}},
	{"Lo", {"Lo", "Other_Letter"}},
	{"No", {"No", "Other_Number"}},
	{"Po", {"Po", "Other_Punctuation"}},
	{"So", {"So", "Other_Symbol"}},
	{"Zp", {"Zp", "Paragraph_Separator"}},
	{"Co", {"Co", "Private_Use"}},
	{"P", {"P", "Punctuation", "punct"}},
	{"Z", {"Z", "Separator"}},
	{"Zs", {"Zs", "Space_Separator"}},
	{"Mc", {"Mc", "Spacing_Mark"}},
	{"Cs", {"Cs", "Surrogate"}},
	{"S", {"S", "Symbol"}},
	{"Lt", {"Lt", "Titlecase_Letter"}},
	{"Cn", {"Cn", "Unassigned"}},
	{"Lu", {"Lu", "Uppercase_Letter"}},
};

/* Binary properties, each by its name and its short name. */
static const char *const binaries[][2] = {
	{"ASCII", NULL}, {"ASCII_Hex_Digit", "AHex"}, {"Alphabetic", "Alpha"}, {"Any", NULL},
	{"Bidi_Control", "Bidi_C"}, {"Bidi_Mirrored", "Bidi_M"}, {"Case_Ignorable", "CI"},
	{"Cased", NULL}, {"Changes_When_Casefolded", "CWCF"}, {"Changes_When_Casemapped", "CWCM"},
	{"Changes_When_Lowercased", "CWL"}, {"Changes_When_NFKC_Casefolded", "CWKCF"},
	{"Changes_When_Titlecased", "CWT"}, {"Changes_When_Uppercased", "CWU"}, {"Dash", NULL},
	{"Default_Ignorable_Code_Point", "DI"}, {"Deprecated", "Dep"}, {"Diacritic", "Dia"},
	{"Emoji", NULL}, {"Emoji_Component", "EComp"}, {"Emoji_Modifier", "EMod"},
	{"Emoji_Modifier_Base", "EBase"}, {"Emoji_Presentation", "EPres"},
	{"Extended_Pictographic", "ExtPict"}, {"Extender", "Ext"}, {"Grapheme_Base", "Gr_Base"},
	{"Grapheme_Extend", "Gr_Ext"}, {"Hex_Digit", "Hex"}, {"IDS_Binary_Operator", "IDSB"},
	{"IDS_Trinary_Operator", "IDST"}, {"ID_Continue", "IDC"}, {"ID_Start", "IDS"},
	{"Ideographic", "Ideo"}, {"Join_Control", "Join_C"}, {"Logical_Order_Exception", "LOE"},
	{"Lowercase", "Lower"}, {"Math", NULL}, {"Noncharacter_Code_Point", "NChar"},
	{"Pattern_Syntax", "Pat_Syn"}, {"Pattern_White_Space", "Pat_WS"}, {"Quotation_Mark", "QMark"},
	{"Radical", NULL}, {"Regional_Indicator", "RI"}, {"Sentence_Terminal", "STerm"},
	{"Soft_Dotted", "SD"}, {"Terminal_Punctuation", "Term"}, {"Unified_Ideograph", "UIdeo"},
	{"Uppercase", "Upper"}, {"Variation_Selector", "VS"}, {"White_Space", "space"},
	{"XID_Continue", "XIDC"}, {"XID_Start", "XIDS"}
};

static bool
is(const char *name, int len, const char *what)
{
	return what != NULL && (int) strlen(what) == len && memcmp(name, what, len) == 0;
}

static const char *
category(const char *name, int len)
{
	for (int i = 0; i < lengthof(categories); i++)
	{
		for (int j = 0; j < lengthof(categories[i].names); j++)
		{
			if (is(name, len, categories[i].names[j]))
				return categories[i].pcre;
		}
	}
	return NULL;
}

/*
 * What PCRE2 has in \p{} for ECMA-262's \p{name}, where value is NULL, or \p{name=value}.  It
 * begins with ^ for the complement.  The result is NULL if there is no such property.
 */
const char *
JsRegexProperty(const char *name, int name_len, const char *value, int value_len)
{
	bool		extensions;

	if (value == NULL)
	{
		const char *found = category(name, name_len);

		if (found != NULL)
			return found;
		if (is(name, name_len, "Assigned"))
			return "^Cn";
		for (int i = 0; i < lengthof(binaries); i++)
		{
			if (is(name, name_len, binaries[i][0]) || is(name, name_len, binaries[i][1]))
				return binaries[i][0];
		}
		return NULL;
	}

	if (is(name, name_len, "General_Category") || is(name, name_len, "gc"))
		return category(value, value_len);

	extensions = is(name, name_len, "Script_Extensions") || is(name, name_len, "scx");
	if (!extensions && !is(name, name_len, "Script") && !is(name, name_len, "sc"))
		return NULL;
	if (value_len == 0 || value_len > 60)
		return NULL;
	for (int i = 0; i < value_len; i++)
	{
		char		c = value[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'))
			return NULL;
	}
#if PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40
	return psprintf("%s:%.*s", extensions ? "scx" : "sc", value_len, value);
#else
	return psprintf("%.*s", value_len, value);
#endif
}
