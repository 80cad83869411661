/*-------------------------------------------------------------------------
 *
 * jsonschema/regex_match.c
 *	  JSON Schema: a matcher for the regular expressions that are not for
 *	  PCRE2.
 *
 *  1. It is for patterns with back references or with a lookbehind whose
 *     length varies, and for those that are too large for PCRE2 (its 8-bit
 *     library takes 64 kB of compiled code).  In ECMA-262, a group has
 *     captured nothing at the beginning of each turn of a repetition that it
 *     is in; a reference to such a group matches the empty string; a turn that
 *     has matched nothing does not count; and a lookbehind is matched
 *     backwards.  PCRE2 keeps captures, and nothing in its syntax takes them
 *     back.
 *  2. A pattern becomes a list of instructions for a machine that backtracks.
 *     The state of the machine is a position and registers: two for each
 *     group, and those of repetitions and lookarounds.
 *  3. A stack has the choices that are still to be tried, and the earlier
 *     values of the registers that were set since, so that going back to a
 *     choice restores them.  A repetition of one character is one entry,
 *     however many characters there are.
 *  4. The stack is in palloc'd memory of a limited size, and steps are
 *     counted.  Work that grows with the pattern (sets with many ranges,
 *     repetitions of many groups) counts as more than one step.
 *  5. PCRE2 knows the properties of Unicode.  Each is compiled once, as a
 *     pattern of its own, for the life of the backend.
 *
 * Copyright (c) 2026, the eda authors.  PostgreSQL License.
 *
 * IDENTIFICATION
 *	  src/jsonschema/regex_match.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "jsonschema/regex.h"

#define MAX_STEPS		100000000	/* in one string */
#define MAX_STEPS_FROM	10000000	/* from one position of it */
#define MAX_STACK_BYTES	(32 * 1024 * 1024)
#define STEPS_LOOK_UP	4096		/* between two looks for interrupts */
#define SIMPLE_STEPS	16			/* turns of a simple loop in this file that count as one step */
#define UNSET			(-1)

/* A property of Unicode that was looked up. */
typedef struct JsReKnown
{
	char		name[80];		/* key */
	JsRegex    *regex;
	uint64		ascii[2];
} JsReKnown;

static HTAB *properties = NULL;

typedef enum Opcode
{
	OP_STRING,
	OP_SET,
	OP_CHARS,					/* a repetition of one character */
	OP_START,
	OP_END,
	OP_EDGE,					/* \b, or \B where it is negative */
	OP_REFERENCE,				/* match what the group with its registers at reg captured */
	OP_SAVE,					/* put the position into reg */
	OP_CAPTURE,					/* from the position in target to this one; in reg, reg + 1 */
	OP_ZERO,					/* put 0 into reg */
	OP_FORGET,					/* unset the registers from reg to target - 1 */
	OP_SPLIT,					/* go on here; if that fails, at target */
	OP_JUMP,
	OP_LOOP,					/* a repetition that ends at target; reg has the number of
								 * turns, reg + 1 the position where this one began */
	OP_TURN,					/* the end of a turn; its OP_LOOP is at target */
	OP_LOOK,					/* a lookaround that ends at target; reg has the height of
								 * the stack, reg + 1 the position */
	OP_LOOK_END,
	OP_MATCH,
} Opcode;

typedef struct Instruction
{
	uint8		op;
	bool		backward;
	bool		lazy;
	bool		negative;
	int32		reg;
	int32		target;
	int32		min;
	int32		max;
	JsString	string;			/* of STRING, and of CHARS if there is no set */
	const JsReSet *set;
} Instruction;

struct JsReProgram
{
	Instruction *code;
	int			n;
	int			allocated;
	int			nregisters;
	bool		anchored;		/* a match can only begin where the string does */
	bool		unknown;		/* PCRE2 does not know a property of it */
};

/* The kinds of entries on the stack. */
typedef enum EntryKind
{
	ENTRY_REGISTER,				/* the value of register a was b */
	ENTRY_CHOICE,				/* go on with instruction a at position b */
	ENTRY_FEWER,				/* the same, each time one character earlier, down to c */
	ENTRY_MORE,					/* match CHARS a once more, at b; c were matched so far */
} EntryKind;

typedef struct Entry
{
	int32		kind;
	int32		a;
	int32		b;
	int32		c;
} Entry;

typedef struct Machine
{
	const JsReProgram *program;
	const char *subject;
	int			len;
	int32	   *registers;
	Entry	   *stack;
	int			height;
	int			allocated;
	int64		steps;			/* steps that are left for the whole string */
	int64		give_up;		/* when only so many are left, the match is given up */
	int64		look_up;		/* when only so many are left, we look for interrupts */
	bool		too_much;
} Machine;

/*-------------------------------------------------------------------------
 * From the tree to instructions
 *-------------------------------------------------------------------------
 */
static int
emit(JsReProgram *program, Opcode op, int32 reg)
{
	if (program->n >= program->allocated)
	{
		program->allocated = Max(16, 2 * program->allocated);
		program->code = program->code == NULL ?
			palloc(program->allocated * sizeof(Instruction)) :
			repalloc_huge(program->code, (Size) program->allocated * sizeof(Instruction));
	}
	memset(&program->code[program->n], 0, sizeof(Instruction));
	program->code[program->n].op = op;
	program->code[program->n].reg = reg;
	return program->n++;
}

static inline bool
in_ranges(const JsReSet *set, uint32 c)
{
	for (int i = 0; i < set->nranges; i++)
	{
		if (c >= set->ranges[i].low && c <= set->ranges[i].high)
			return true;
	}
	return false;
}

/* Look up a property; NULL if PCRE2 has no such property. */
static const JsReKnown *
look_up(const char *name)
{
	JsReKnown  *known;
	JsRegex    *regex;
	char	   *pattern;
	uint64		ascii[2] = {0};
	MemoryContext before;
	int			error;

	if (properties == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(known->name);
		ctl.entrysize = sizeof(JsReKnown);
		properties = hash_create("JSON Schema properties", 64, &ctl, HASH_ELEM | HASH_STRINGS);
	}
	known = hash_search(properties, name, HASH_FIND, NULL);
	if (known != NULL)
		return known;
	pattern = psprintf("\\p{%s}", name);
	before = MemoryContextSwitchTo(TopMemoryContext);
	regex = JsRegexCompilePcre(pattern, &error);
	MemoryContextSwitchTo(before);
	pfree(pattern);
	if (regex == NULL)
		return NULL;
	for (int c = 0; c < 128; c++)
	{
		char		byte = (char) c;

		if (JsRegexHasChar(regex, &byte, 1))
			ascii[c >> 6] |= UINT64CONST(1) << (c & 63);
	}
	known = hash_search(properties, name, HASH_ENTER, NULL);
	known->regex = regex;
	memcpy(known->ascii, ascii, sizeof(ascii));
	return known;
}

/*
 * Prepare a set for looking up characters in it.  Returns false if one of its properties is not
 * known.
 */
static bool
prepare_set(JsReSet *set)
{
	uint64		ascii[2] = {0};

	for (int c = 0; c < 128; c++)
	{
		if (in_ranges(set, c))
			ascii[c >> 6] |= UINT64CONST(1) << (c & 63);
	}
	for (int i = 0; i < set->nproperties; i++)
	{
		JsReProperty *property = &set->properties[i];

		property->known = look_up(property->name);
		if (property->known == NULL)
			return false;
		for (int j = 0; j < 2; j++)
			ascii[j] |= property->negated ? ~property->known->ascii[j] : property->known->ascii[j];
	}
	for (int j = 0; j < 2; j++)
		set->ascii[j] = set->negated ? ~ascii[j] : ascii[j];
	return true;
}

static bool
is_one_char(const JsReNode *node)
{
	int			size;

	if (node->kind == JSRE_STRING)
	{
		(void) js_re_char(node->string.data, node->string.data + node->string.len, &size);
		return size == node->string.len;
	}
	return node->kind == JSRE_SET;
}

static void compile(JsReProgram *program, const JsReNode *node, bool backward);

static void
compile_loop(JsReProgram *program, const JsReNode *node, bool backward)
{
	int			loop,
				turn,
				reg;

	if (is_one_char(node->child))
	{
		loop = emit(program, OP_CHARS, 0);
		program->code[loop].backward = backward;
		program->code[loop].lazy = node->lazy;
		program->code[loop].min = node->min;
		program->code[loop].max = node->max;
		program->code[loop].string = node->child->string;
		program->code[loop].set = node->child->set;
		if (node->child->set != NULL && !prepare_set(node->child->set))
			program->unknown = true;
		return;
	}
	reg = program->nregisters;
	program->nregisters += 2;
	(void) emit(program, OP_ZERO, reg);
	loop = emit(program, OP_LOOP, reg);
	program->code[loop].min = node->min;
	program->code[loop].max = node->max;
	program->code[loop].lazy = node->lazy;
	if (node->last_group > node->first_group)
	{
		int			forget = emit(program, OP_FORGET, 2 * (node->first_group - 1));

		program->code[forget].target = 2 * (node->last_group - 1);
	}
	(void) emit(program, OP_SAVE, reg + 1);
	compile(program, node->child, backward);
	turn = emit(program, OP_TURN, reg);
	program->code[turn].min = node->min;
	program->code[turn].target = loop;
	program->code[loop].target = program->n;
}

static void
compile_alternatives(JsReProgram *program, const JsReNode *node, bool backward)
{
	int			jump = -1;		/* the last jump to the end; until that is known, the
								 * target of each is the one before it */

	for (int i = 0; i < node->n - 1; i++)
	{
		int			split = emit(program, OP_SPLIT, 0);
		int			next;

		compile(program, node->children[i], backward);
		next = emit(program, OP_JUMP, 0);
		program->code[next].target = jump;
		jump = next;
		program->code[split].target = program->n;
	}
	compile(program, node->children[node->n - 1], backward);
	while (jump >= 0)
	{
		int			before = program->code[jump].target;

		program->code[jump].target = program->n;
		jump = before;
	}
}

static void
compile_look(JsReProgram *program, const JsReNode *node)
{
	int			look = emit(program, OP_LOOK, 0);
	int			end;

	program->code[look].reg = program->nregisters;
	program->code[look].negative = node->negative;
	program->nregisters += 2;
	compile(program, node->child, node->behind);
	end = emit(program, OP_LOOK_END, program->code[look].reg);
	program->code[end].negative = node->negative;
	program->code[look].target = program->n;
}

/*
 * Compile a group that captures.  While it is open, its registers have what it captured before, and
 * another register has the position where it began.
 */
static void
compile_capture(JsReProgram *program, const JsReNode *node, bool backward)
{
	int			began = program->nregisters++;
	int			capture;

	(void) emit(program, OP_SAVE, began);
	compile(program, node->child, backward);
	capture = emit(program, OP_CAPTURE, 2 * (node->number - 1));
	program->code[capture].target = began;
	program->code[capture].backward = backward;
}

static void
compile(JsReProgram *program, const JsReNode *node, bool backward)
{
	int			i;

	check_stack_depth();
	switch (node->kind)
	{
		case JSRE_STRING:
			i = emit(program, OP_STRING, 0);
			program->code[i].string = node->string;
			program->code[i].backward = backward;
			break;
		case JSRE_SET:
			if (!prepare_set(node->set))
				program->unknown = true;
			i = emit(program, OP_SET, 0);
			program->code[i].set = node->set;
			program->code[i].backward = backward;
			break;
		case JSRE_START:
			emit(program, OP_START, 0);
			break;
		case JSRE_END:
			emit(program, OP_END, 0);
			break;
		case JSRE_WORD_EDGE:
		case JSRE_NO_WORD_EDGE:
			i = emit(program, OP_EDGE, 0);
			program->code[i].negative = node->kind == JSRE_NO_WORD_EDGE;
			break;
		case JSRE_REFERENCE:
			i = emit(program, OP_REFERENCE, 2 * (node->number - 1));
			program->code[i].backward = backward;
			break;
		case JSRE_GROUP:
			if (node->number == 0)
			{
				compile(program, node->child, backward);
				break;
			}
			compile_capture(program, node, backward);
			break;
		case JSRE_LOOK:
			compile_look(program, node);
			break;
		case JSRE_LOOP:
			compile_loop(program, node, backward);
			break;
		case JSRE_SEQUENCE:
			for (int j = 0; j < node->n; j++)
				compile(program, node->children[backward ? node->n - 1 - j : j], backward);
			break;
		case JSRE_ALTERNATIVES:
			compile_alternatives(program, node, backward);
			break;
	}
}

/* Can a match begin only at the beginning of the string? */
static bool
is_anchored(const JsReNode *node)
{
	check_stack_depth();
	switch (node->kind)
	{
		case JSRE_START:
			return true;
		case JSRE_GROUP:
			return is_anchored(node->child);
		case JSRE_SEQUENCE:
			return node->n > 0 && is_anchored(node->children[0]);
		case JSRE_ALTERNATIVES:
			for (int i = 0; i < node->n; i++)
			{
				if (!is_anchored(node->children[i]))
					return false;
			}
			return true;
		default:
			return false;
	}
}

JsReProgram *
JsRegexProgram(const JsRePattern *pattern)
{
	JsReProgram *program = palloc0(sizeof(JsReProgram));

	program->nregisters = 2 * pattern->ngroups;
	program->anchored = is_anchored(pattern->root);
	compile(program, pattern->root, false);
	emit(program, OP_MATCH, 0);
	return program->unknown ? NULL : program;
}

/*-------------------------------------------------------------------------
 * The machine
 *-------------------------------------------------------------------------
 */
static void
push(Machine *m, EntryKind kind, int32 a, int32 b, int32 c)
{
	if (m->height >= m->allocated)
	{
		if (m->allocated >= MAX_STACK_BYTES / (int) sizeof(Entry))
		{
			m->too_much = true;
			return;
		}
		m->allocated = Max(256, 2 * m->allocated);
		m->stack = m->stack == NULL ? palloc(m->allocated * sizeof(Entry)) :
			repalloc(m->stack, m->allocated * sizeof(Entry));
	}
	m->stack[m->height].kind = kind;
	m->stack[m->height].a = a;
	m->stack[m->height].b = b;
	m->stack[m->height++].c = c;
}

static inline void
set_register(Machine *m, int32 reg, int32 value)
{
	if (m->registers[reg] == value)
		return;
	push(m, ENTRY_REGISTER, reg, m->registers[reg], 0);
	m->registers[reg] = value;
}

static bool
set_has(const JsReSet *set, const char *p, int size, uint32 c)
{
	if (c == JSRE_NO_CHAR)
		return false;
	if (c < 128)
		return (set->ascii[c >> 6] >> (c & 63)) & 1;
	if (in_ranges(set, c))
		return !set->negated;
	for (int i = 0; i < set->nproperties; i++)
	{
		if (JsRegexHasChar(set->properties[i].known->regex, p, size) != set->properties[i].negated)
			return !set->negated;
	}
	return set->negated;
}

/* Where the character before pos begins. */
static int32
before(const Machine *m, int32 pos)
{
	int32		p = pos - 1;
	int			size;

	while (p > 0 && pos - p < 4 && ((unsigned char) m->subject[p] & 0xc0) == 0x80)
		p--;
	(void) js_re_char(m->subject + p, m->subject + pos, &size);
	return p + size == pos ? p : pos - 1;
}

/*
 * The position after the instruction's string, or after a character of its set, which is at pos;
 * -1 if that is not there.
 */
static int32
step_over(Machine *m, const Instruction *i, int32 pos)
{
	int32		from = pos,
				to = pos;
	int			size;
	uint32		c;

	if (i->set == NULL)
	{
		from = i->backward ? pos - i->string.len : pos;
		to = from + i->string.len;
		if (from < 0 || to > m->len ||
			memcmp(m->subject + from, i->string.data, i->string.len) != 0)
			return -1;
		return i->backward ? from : to;
	}
	if (i->backward ? pos <= 0 : pos >= m->len)
		return -1;
	if (i->backward)
		from = before(m, pos);
	c = js_re_char(m->subject + from, m->subject + m->len, &size);
	if (c >= 128)
		m->steps -= i->set->nranges / SIMPLE_STEPS + i->set->nproperties;
	if (!set_has(i->set, m->subject + from, size, c))
		return -1;
	return i->backward ? from : from + size;
}

/* The position after a repetition of one character at pos; -1 if there are too few of them. */
static int32
step_over_chars(Machine *m, int32 pc, int32 pos)
{
	const Instruction *i = &m->program->code[pc];
	int32		count = 0;
	int32		least = pos;

	while (count < (i->lazy ? i->min : i->max))
	{
		int32		next = step_over(m, i, pos);

		if (next < 0)
			break;
		pos = next;
		if (++count == i->min)
			least = pos;
		if (m->steps <= m->give_up)
			break;
		if ((count & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	m->steps -= count / SIMPLE_STEPS;
	if (count < i->min)
		return -1;
	if (i->lazy)
		push(m, ENTRY_MORE, pc, pos, count);
	else if (pos != least)
		push(m, ENTRY_FEWER, pc, pos, least);
	return pos;
}

/* Go back to the last choice that is left.  Returns false if there is none. */
static bool
go_back(Machine *m, int32 *pc, int32 *pos)
{
	while (m->height > 0)
	{
		Entry	   *entry = &m->stack[m->height - 1];
		const Instruction *i = &m->program->code[entry->a];

		switch (entry->kind)
		{
			case ENTRY_REGISTER:
				m->registers[entry->a] = entry->b;
				break;
			case ENTRY_CHOICE:
				*pc = entry->a;
				*pos = entry->b;
				m->height--;
				return true;
			case ENTRY_FEWER:
				if (i->backward)
				{
					int			size;

					(void) js_re_char(m->subject + entry->b, m->subject + m->len, &size);
					entry->b += size;
				}
				else
					entry->b = before(m, entry->b);
				*pc = entry->a + 1;
				*pos = entry->b;
				if (entry->b == entry->c)
					m->height--;
				return true;
			case ENTRY_MORE:
				if (entry->c < i->max && (entry->b = step_over(m, i, entry->b)) >= 0)
				{
					entry->c++;
					*pc = entry->a + 1;
					*pos = entry->b;
					return true;
				}
				break;
		}
		m->height--;
	}
	return false;
}

static bool
is_word(const Machine *m, int32 pos)
{
	unsigned char c = pos >= 0 && pos < m->len ? m->subject[pos] : 0;

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The position after what the group has captured, which must be at pos; -1 if it is not there. */
static int32
step_over_reference(const Machine *m, const Instruction *i, int32 pos)
{
	int32		start = m->registers[i->reg];
	int32		len = m->registers[i->reg + 1] - start;
	int32		from = i->backward ? pos - len : pos;

	if (start == UNSET)
		return pos;
	if (from < 0 || from + len > m->len || memcmp(m->subject + from, m->subject + start, len) != 0)
		return -1;
	return i->backward ? from : from + len;
}

/*
 * Forget the choices above a height of the stack, after a positive lookaround has held.  What it
 * has captured stays, and is still undone by going back further.
 */
static void
forget_choices(Machine *m, int32 height)
{
	int32		kept = height;

	for (int32 i = height; i < m->height; i++)
	{
		if (m->stack[i].kind == ENTRY_REGISTER)
			m->stack[kept++] = m->stack[i];
	}
	m->height = kept;
}

/*
 * Restore the registers as they were at a height of the stack, after a negative lookaround has
 * failed.
 */
static void
go_back_to(Machine *m, int32 height)
{
	while (m->height > height)
	{
		const Entry *entry = &m->stack[--m->height];

		if (entry->kind == ENTRY_REGISTER)
			m->registers[entry->a] = entry->b;
	}
}

/* Begin a turn of a repetition, or end the repetition.  Returns the next instruction. */
static int32
begin_turn(Machine *m, int32 pc, int32 pos)
{
	const Instruction *i = &m->program->code[pc];
	int32		count = m->registers[i->reg];

	if (count < i->min)
		return pc + 1;
	if (count >= i->max)
		return i->target;
	push(m, ENTRY_CHOICE, i->lazy ? pc + 1 : i->target, pos, 0);
	return i->lazy ? i->target : pc + 1;
}

/*
 * Begin the first of two alternatives, and note the other one as a choice.  If the first one
 * begins with a string that is not there, it is passed over.  Returns the next instruction.
 */
static int32
begin_alternative(Machine *m, int32 pc, int32 pos)
{
	const Instruction *i = &m->program->code[pc];
	const Instruction *next = i + 1;

	if (next->op == OP_STRING && step_over(m, next, pos) < 0)
		return i->target;
	push(m, ENTRY_CHOICE, i->target, pos, 0);
	return pc + 1;
}

/* Execute the instruction at *pc at the position *pos.  Returns false if it fails. */
static bool
execute(Machine *m, int32 *pc, int32 *pos)
{
	const Instruction *i = &m->program->code[(*pc)++];
	int32		next = *pos;

	switch (i->op)
	{
		case OP_STRING:
		case OP_SET:
			next = step_over(m, i, *pos);
			break;
		case OP_CHARS:
			next = step_over_chars(m, *pc - 1, *pos);
			break;
		case OP_REFERENCE:
			next = step_over_reference(m, i, *pos);
			break;
		case OP_START:
			return *pos == 0;
		case OP_END:
			return *pos == m->len;
		case OP_EDGE:
			return (is_word(m, *pos - 1) != is_word(m, *pos)) != i->negative;
		case OP_SAVE:
			set_register(m, i->reg, *pos);
			break;
		case OP_CAPTURE:
			{
				int32		began = m->registers[i->target];

				set_register(m, i->reg, i->backward ? *pos : began);
				set_register(m, i->reg + 1, i->backward ? began : *pos);
			}
			break;
		case OP_ZERO:
			set_register(m, i->reg, 0);
			break;
		case OP_FORGET:
			m->steps -= (i->target - i->reg) / SIMPLE_STEPS;
			for (int32 reg = i->reg; reg < i->target; reg++)
				set_register(m, reg, UNSET);
			break;
		case OP_SPLIT:
			*pc = begin_alternative(m, *pc - 1, *pos);
			break;
		case OP_JUMP:
			*pc = i->target;
			break;
		case OP_LOOP:
			*pc = begin_turn(m, *pc - 1, *pos);
			break;
		case OP_TURN:
			if (m->registers[i->reg] >= i->min && m->registers[i->reg + 1] == *pos)
				return false;
			set_register(m, i->reg, m->registers[i->reg] + 1);
			*pc = i->target;
			break;
		case OP_LOOK:
			set_register(m, i->reg + 1, *pos);
			/* The register's earlier value is on the stack, below this height. */
			push(m, ENTRY_REGISTER, i->reg, m->registers[i->reg], 0);
			m->registers[i->reg] = m->height;
			if (i->negative)
				push(m, ENTRY_CHOICE, i->target, *pos, 0);
			break;
		case OP_LOOK_END:
			if (i->negative)
			{
				go_back_to(m, m->registers[i->reg]);
				return false;
			}
			forget_choices(m, m->registers[i->reg]);
			next = m->registers[i->reg + 1];
			break;
		default:
			return false;
	}
	if (next < 0)
		return false;
	*pos = next;
	return true;
}

/* Is there a match that begins at start? */
static bool
match_at(Machine *m, int32 start)
{
	int32		pc = 0,
				pos = start;

	m->height = 0;
	m->give_up = Max(m->steps - MAX_STEPS_FROM, 0);
	m->steps -= m->program->nregisters / SIMPLE_STEPS;
	for (int i = 0; i < m->program->nregisters; i++)
		m->registers[i] = UNSET;
	while (m->program->code[pc].op != OP_MATCH)
	{
		if (--m->steps <= m->give_up)
			m->too_much = true;
		if (m->steps <= m->look_up)
		{
			CHECK_FOR_INTERRUPTS();
			m->look_up = m->steps - STEPS_LOOK_UP;
		}
		if (!execute(m, &pc, &pos) && !go_back(m, &pc, &pos))
			return false;
		if (m->too_much)
			return false;
	}
	return true;
}

/* Is there a match anywhere in a string, which is in UTF-8? */
JsReOutcome
JsRegexRun(const JsReProgram *program, const char *subject, int len)
{
	Machine		m = {.program = program, .subject = subject, .len = len, .steps = MAX_STEPS, .look_up = MAX_STEPS};
	bool		found = false;
	int			size;

	m.registers = palloc(Max(program->nregisters, 1) * sizeof(int32));
	for (int start = 0; !found && !m.too_much && start <= len; start += size)
	{
		CHECK_FOR_INTERRUPTS();
		found = match_at(&m, start);
		if (program->anchored || start == len)
			break;
		(void) js_re_char(subject + start, subject + len, &size);
	}
	pfree(m.registers);
	if (m.stack != NULL)
		pfree(m.stack);
	return found ? JSRE_MATCH : m.too_much ? JSRE_TOO_MUCH : JSRE_NO_MATCH;
}
