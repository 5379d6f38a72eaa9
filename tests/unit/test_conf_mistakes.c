/* conf: what is told about every mistake and past every limit, word for word. */
#include "conf_sample.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdio.h>

static const struct {
    const char *text, *errors;
} mistakes[] = {
    {"", ""},
    /* names */
    {"usr = x", "/c:1: unknown option \"usr\" in test configuration; did you mean user?\n"},
    {"completely_else = x", "/c:1: unknown option \"completely_else\" in test configuration; write "
                            "one of: user, count, control\n"},
    {"sites \"a\" { }",
     "/c:1: unknown block \"sites\" in test configuration; did you mean site?\n"},
    {"whatever { a = b { c = d } e = f }\nusr = x",
     "/c:1: unknown block \"whatever\" in test configuration; write one of: site, channel, leaf\n"
     "/c:2: unknown option \"usr\" in test configuration; did you mean user?\n"},
    {"channel = x", "/c:1: channel is a block; write channel { ... }\n"},
    {"user { }", "/c:1: user is an option; write user = ...\n"},
    {"user {\n a = b\n}\ncount = x",
     "/c:1: user is an option; write user = ...\n"
     "/c:4: count: \"x\" is not a whole number; write a whole number\n"},
    {"site \"s\" {\nuser = x\n}\n",
     "/c:2: option \"user\" does not belong in site \"s\"; write it in test configuration, or the "
     "\"}\" that is missing before it\n"},
    {"site \"s\" {\nchannel { }\n}\n",
     "/c:2: block \"channel\" does not belong in site \"s\"; write it in test configuration, or "
     "the \"}\" that is missing before it\n"},
    {"leaf { x { } }", "/c:1: unknown block \"x\" in leaf; write one of: leaf\n"},
    {"leaf { dept = 1 }", "/c:1: unknown option \"dept\" in leaf; did you mean depth?\n"},
    {"channel { certificate = a ca = b x { } }",
     "/c:1: unknown block \"x\" in channel; it takes no blocks, remove it\n"},
    /* structure */
    {"user",
     "/c:1: \"user\" is followed by the end of the file; write \"=\" and a value after it\n"},
    {"user x", "/c:1: \"user\" is followed by \"x\"; write \"=\" and a value after it\n"},
    {"user \"x\"", "/c:1: \"user\" is followed by \"x\"; write \"=\" and a value after it\n"},
    {"user ,", "/c:1: \"user\" is followed by \",\"; write \"=\" and a value after it\n"},
    {"= x", "/c:1: expected a name, found \"=\"; write NAME = VALUE or NAME { ... }\n"},
    {"{ }", "/c:1: expected a name, found \"{\"; write NAME = VALUE or NAME { ... }\n"},
    {", count = x", "/c:1: expected a name, found \",\"; write NAME = VALUE or NAME { ... }\n"
                    "/c:1: count: \"x\" is not a whole number; write a whole number\n"},
    {"}", "/c:1: \"}\" closes nothing; remove it\n"},
    {"} count = x", "/c:1: \"}\" closes nothing; remove it\n"
                    "/c:1: count: \"x\" is not a whole number; write a whole number\n"},
    {"\"user\" = x", "/c:1: expected a name, found \"user\"; write NAME = VALUE or NAME { ... }\n"},
    {"user =", "/c:1: user: no value after \"=\"; write a text: \"...\"\n"},
    {"user = }", "/c:1: user: no value after \"=\"; write a text: \"...\"\n"
                 "/c:1: \"}\" closes nothing; remove it\n"},
    {"user =\ncount = x", "/c:1: user: no value after \"=\"; write a text: \"...\"\n"
                          "/c:2: count: \"x\" is not a whole number; write a whole number\n"},
    {"user = = x", "/c:1: user: no value after \"=\"; write a text: \"...\"\n"},
    {"user = x = y", "/c:1: expected a name, found \"=\"; write NAME = VALUE or NAME { ... }\n"},
    {"user = {",
     "/c:1: user: expected a value, found the end of the file; write {\"...\", \"...\"}\n"},
    {"user = x y", "/c:1: \"y\" is followed by the end of the file; write \"=\" and a value, or a "
                   "block after it\n"},
    {"site \"a\"", "/c:1: no \"{\" after site, found the end of the file; write site ... {\n"},
    {"site \"a\" count = x",
     "/c:1: no \"{\" after site, found \"count\"; write site ... {\n"
     "/c:1: option \"count\" does not belong in site \"a\"; write it in test configuration, or the "
     "\"}\" that is missing before it\n"
     "/c:1: site \"a\", opened at line 1, is not closed; write \"}\" at its end\n"},
    {"site \"a\" }", "/c:1: no \"{\" after site, found \"}\"; write site ... {\n"
                     "/c:1: \"}\" closes nothing; remove it\n"},
    {"site { }", "/c:1: site needs a title; write site \"NAME\" {\n"},
    {"site \"\" { }", "/c:1: title of site is empty; write site \"NAME\" {\n"},
    {"site a { }", "/c:1: title is not in quotes; write site \"a\" {\n"},
    {"site a }\ncount = x", "/c:1: \"site\" is followed by \"a\"; write a block { ... } after it\n"
                            "/c:1: \"}\" closes nothing; remove it\n"
                            "/c:2: count: \"x\" is not a whole number; write a whole number\n"},
    {"leaf \"x\" { }", "/c:1: leaf takes no title; write leaf {\n"},
    {"leaf {", "/c:1: leaf, opened at line 1, is not closed; write \"}\" at its end\n"},
    {"site \"a\" {\nmode = sign",
     "/c:2: site \"a\", opened at line 1, is not closed; write \"}\" at its end\n"},
    {"leaf { leaf { }\nuser = x",
     "/c:2: option \"user\" does not belong in leaf; write it in test configuration, or the \"}\" "
     "that is missing before it\n"
     "/c:2: leaf, opened at line 1, is not closed; write \"}\" at its end\n"},
    {"count = x }", "/c:1: count: \"x\" is not a whole number; write a whole number\n"
                    "/c:1: \"}\" closes nothing; remove it\n"},
    {"site \"a\" { }\nsite \"b\" { }\nsite \"a\" { }",
     "/c:3: second block site \"a\"; merge it into the first, at /c:1, or remove it\n"},
    {"channel { certificate = a ca = b }\nchannel { certificate = a ca = b }",
     "/c:2: second block channel; merge it into the first, at /c:1, or remove it\n"},
    {"user = a\n\nuser = b",
     "/c:3: user is set twice in test configuration; remove this one or the first, at /c:1\n"},
    {"site \"s\" {\nmode = sign mode = local\n}\n",
     "/c:2: mode is set twice in site \"s\"; remove this one or the first, at /c:2\n"},
    /* lists */
    {"site \"s\" {\nnames = {\"a\" \"b\"}\n}\n",
     "/c:2: names: no comma before \"b\"; write \",\" between values\n"},
    {"site \"s\" {\nnames = {}\n}\n",
     "/c:2: names: the list is empty; remove the option, or write a list: {\"...\", \"...\"}\n"},
    {"site \"s\" {\nnames = {\"b\", \"a\",\n\"c\", \"b\",\n\"b\"}\nallow = {sign, sign}\n}\n",
     "/c:3: names: \"b\" is in the list twice; remove one\n"
     "/c:4: names: \"b\" is in the list twice; remove one\n"
     "/c:5: allow: \"sign\" is in the list twice; remove one\n"},
    {"site \"s\" {\nnames = {\"a\", }\n}\n",
     "/c:2: names: expected a value, found \"}\"; remove the comma\n"},
    {"site \"s\" {\nnames = {, \"a\"}\n}\n",
     "/c:2: names: expected a value, found \",\"; remove the comma\n"},
    {"site \"s\" {\nnames = {\"a\",, \"b\"}\n}\n",
     "/c:2: names: expected a value, found \",\"; remove the comma\n"},
    {"site \"s\" {\nnames = {\"a\", {\"b\"}}\n}\n",
     "/c:2: names: expected a value, found \"{\"; write all values in one list\n"},
    {"site \"s\" {\nnames = {\"a\"\nmode = x\n}\n",
     "/c:3: names: list is not closed before \"mode\"; write \"}\" at its end\n"
     "/c:3: mode: unknown value \"x\"; write one of: sign, decrypt, local\n"},
    {"site \"s\" {\nnames = {\"a\",\nmode = x\n}\n",
     "/c:3: names: expected a value, found \"mode\"; write {\"...\", \"...\"}\n"
     "/c:3: mode: unknown value \"x\"; write one of: sign, decrypt, local\n"},
    {"site \"s\" {\nnames = {\"a\" = \"b\"}\nmode = x\n}\n",
     "/c:2: names: list is not closed before \"=\"; write \"}\" at its end\n"
     "/c:3: mode: unknown value \"x\"; write one of: sign, decrypt, local\n"},
    {"site \"s\" {\nnames = {\n}\n",
     "/c:2: names: the list is empty; remove the option, or write a list: {\"...\", \"...\"}\n"
     "/c:4: site \"s\", opened at line 1, is not closed; write \"}\" at its end\n"},
    /* characters */
    {"user = x;", "/c:1: unexpected ';'; remove it, a new line or a space is enough\n"},
    {"user = (x)", "/c:1: unexpected character '('; put a value that needs it in double quotes\n"
                   "/c:1: unexpected character ')'; put a value that needs it in double quotes\n"},
    {"user = 'x'", "/c:1: string in single quotes; write it in double quotes\n"},
    {"user = 'x", "/c:1: string is not closed on its line; end it with \" and begin it so\n"},
    {"user = \"x\ncount = y",
     "/c:1: string is not closed on its line; end it with \", or write \\n for a line break\n"
     "/c:2: count: \"y\" is not a whole number; write a whole number\n"},
    {"user = \"x\\",
     "/c:1: string is not closed on its line; end it with \", or write \\n for a line break\n"},
    {"user = \"a\\qb\" count = y",
     "/c:1: unknown escape \"\\q\"; write \\\" \\\\ \\n or \\t\n"
     "/c:1: count: \"y\" is not a whole number; write a whole number\n"},
    {"user = \"a\\\001b\"", "/c:1: unknown escape \"\\\\x01\"; write \\\" \\\\ \\n or \\t\n"},
    {"user = \"a\001b\"", "/c:1: byte 0x01 is no text; remove it\n"},
    {"user = x\001y", "/c:1: byte 0x01 is no text; remove it\n"
                      "/c:1: \"y\" is followed by the end of the file; write \"=\" and a value, or "
                      "a block after it\n"},
    {"user = \303\244",
     "/c:1: user: no value after \"=\"; write a text: \"...\"\n"
     "/c:1: byte 0xc3 outside of quotes; put what is not ASCII in double quotes\n"},
    {"user = \"a\177\"", "/c:1: byte 0x7f is no text; remove it\n"},
    /* required and titles and checks */
    {"channel { }", "/c:1: channel: required option certificate is missing; write certificate = "
                    "... (the name of a file: \"...\")\n"
                    "/c:1: channel: required option ca is missing; write ca = ... (the name of a "
                    "file: \"...\")\n"},
    {"channel { ca = x }", "/c:1: channel: required option certificate is missing; write "
                           "certificate = ... (the name of a file: \"...\")\n"},
    {"site \"s\" {\nmode = local\n}\n", "/c:1: mode local needs a key; write key = \"FILE\"\n"},
    {"site \"s\" {\nmode = local note = bad\n}\n",
     "/c:1: mode local needs a key; write key = \"FILE\"\n/c:2: note: is bad; write \"good\"\n"},
    {"site \"s\" {\nnote = bad\n}\n", "/c:2: note: is bad; write \"good\"\n"},
    {"site \"s\" {\nmode = {sign}\n}\n",
     "/c:2: mode: a list where one value belongs; write one of: sign, decrypt, local\n"},
    /* values */
    {"count = -1", "/c:1: count: \"-1\" is not a whole number; write a whole number\n"},
    {"count = +1", "/c:1: count: \"+1\" is not a whole number; write a whole number\n"},
    {"count = 1.5", "/c:1: count: \"1.5\" is not a whole number; write a whole number\n"},
    {"count = 18446744073709551616",
     "/c:1: count: \"18446744073709551616\" is out of range; write a whole number\n"},
    {"count = \"\"", "/c:1: count: \"\" is not a whole number; write a whole number\n"},
    {"site \"s\" {\ndhe = 1\n}\n", "/c:2: dhe: \"1\" is neither on nor off; write on or off\n"},
    {"site \"s\" {\ndhe = ON\n}\n", "/c:2: dhe: \"ON\" is neither on nor off; write on or off\n"},
    {"site \"s\" {\nweight = 0\n}\n",
     "/c:2: weight: \"0\" is out of range; write a whole number from 1 to 100\n"},
    {"site \"s\" {\nweight = 101\n}\n",
     "/c:2: weight: \"101\" is out of range; write a whole number from 1 to 100\n"},
    {"site \"s\" {\nweight = ten\n}\n",
     "/c:2: weight: \"ten\" is not a whole number; write a whole number from 1 to 100\n"},
    {"site \"s\" {\nweight = 1k\n}\n",
     "/c:2: weight: \"1k\" is not a whole number; write a whole number from 1 to 100\n"},
    {"site \"s\" {\nworkers = 0\n}\n",
     "/c:2: workers: \"0\" is out of range; write a whole number from 1 to 64; or auto\n"},
    {"site \"s\" {\nworkers = automatic\n}\n",
     "/c:2: workers: \"automatic\" is not a whole number; write a whole number from 1 to 64; or "
     "auto\n"},
    {"site \"s\" {\ncache = 1023\n}\n", "/c:2: cache: \"1023\" is out of range; write a size of at "
                                        "least 1k, in bytes or with a unit: k, m or g\n"},
    {"site \"s\" {\ncache = 1K\n}\n", "/c:2: cache: \"1K\" is not a size; write a size of at least "
                                      "1k, in bytes or with a unit: k, m or g\n"},
    {"site \"s\" {\ncache = 16kb\n}\n", "/c:2: cache: \"16kb\" is not a size; write a size of at "
                                        "least 1k, in bytes or with a unit: k, m or g\n"},
    {"site \"s\" {\ncache = 99999999999999999999g\n}\n",
     "/c:2: cache: \"99999999999999999999g\" is out of range; write a size of at least 1k, in "
     "bytes or with a unit: k, m or g\n"},
    {"site \"s\" {\ndeadline = 3\n}\n", "/c:2: deadline: \"3\" is not a time; write a time from "
                                        "1ms to 1m, with a unit: us, ms, s, m, h or d\n"},
    {"site \"s\" {\ndeadline = 999us\n}\n",
     "/c:2: deadline: \"999us\" is out of range; write a time from 1ms to 1m, with a unit: us, ms, "
     "s, m, h or d\n"},
    {"site \"s\" {\ndeadline = 2m\n}\n", "/c:2: deadline: \"2m\" is out of range; write a time "
                                         "from 1ms to 1m, with a unit: us, ms, s, m, h or d\n"},
    {"site \"s\" {\ndeadline = 3sec\n}\n", "/c:2: deadline: \"3sec\" is not a time; write a time "
                                           "from 1ms to 1m, with a unit: us, ms, s, m, h or d\n"},
    {"site \"s\" {\ndeadline = \"3 s\"\n}\n",
     "/c:2: deadline: \"3 s\" is not a time; write a time from 1ms to 1m, with a unit: us, ms, s, "
     "m, h or d\n"},
    {"site \"s\" {\nrate = 500\n}\n", "/c:2: rate: \"500\" is not a rate; write a rate from 0/s to "
                                      "1000000000/s, with a unit: /s, /m or /h\n"},
    {"site \"s\" {\nrate = 500/d\n}\n", "/c:2: rate: \"500/d\" is not a rate; write a rate from "
                                        "0/s to 1000000000/s, with a unit: /s, /m or /h\n"},
    {"site \"s\" {\nrate = 1000000001/s\n}\n",
     "/c:2: rate: \"1000000001/s\" is out of range; write a rate from 0/s to 1000000000/s, with a "
     "unit: /s, /m or /h\n"},
    {"site \"s\" {\nmode = sing\n}\n",
     "/c:2: mode: unknown value \"sing\"; did you mean sign? (one of: sign, decrypt, local)\n"},
    {"site \"s\" {\nmode = nothing\n}\n",
     "/c:2: mode: unknown value \"nothing\"; write one of: sign, decrypt, local\n"},
    {"site \"s\" {\nmode = Sign\n}\n",
     "/c:2: mode: unknown value \"Sign\"; did you mean sign? (one of: sign, decrypt, local)\n"},
    {"site \"s\" {\nallow = {sign, decrpt, x}\n}\n",
     "/c:2: allow: unknown value \"decrpt\"; did you mean decrypt? (one of: sign, decrypt, client, "
     "all)\n"
     "/c:2: allow: unknown value \"x\"; write one of: sign, decrypt, client, all\n"},
    {"site \"s\" {\nallow = x\n}\n",
     "/c:2: allow: unknown value \"x\"; write one of: sign, decrypt, client, all\n"},
    {"site \"s\" {\ncertificate = \"\"\n}\n",
     "/c:2: certificate: \"\" is no file name; write the name of a file: \"...\"\n"},
    {"site \"s\" {\ncertificate = {\"a\"}\n}\n",
     "/c:2: certificate: a list where one value belongs; write the name of a file: \"...\"\n"},
    {"site \"s\" {\nchain = {\"a\", \"\", b}\n}\n",
     "/c:2: chain: \"\" is no file name; write a list of files: {\"...\", \"...\"}\n"},
    {"site \"s\" {\nfrom = {\"10.0.0.0/8\", \"10.0.0.1/8\", \"host\"}\n}\n",
     "/c:2: from: \"10.0.0.1/8\" is not a range of addresses; write 10.0.0.0/8, 2001:db8::/32 or a "
     "single address, no bits set past the prefix\n"
     "/c:2: from: \"host\" is not a range of addresses; write 10.0.0.0/8, 2001:db8::/32 or a "
     "single address, no bits set past the prefix\n"},
    {"site \"s\" {\nfrom = \"::/129\"\n}\n",
     "/c:2: from: \"::/129\" is not a range of addresses; write 10.0.0.0/8, 2001:db8::/32 or a "
     "single address, no bits set past the prefix\n"},
};

static void every_mistake_is_told_with_its_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct sample input;
        char errors[8192];

        assert_err(sample_load(&input, "/c", mistakes[i].text, strlen(mistakes[i].text)),
                   mistakes[i].errors[0] == '\0' ? FK_OK : FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        assert_string_equal(errors, mistakes[i].errors);
        sample_unload(&input);
    }
}

static void nul_bytes_are_told(void **state)
{
    static const char text[] = "user = \"a\0b\"\ncount = 4 \0\0\0\n";
    struct sample input;
    char errors[1024];

    (void)state;
    assert_err(sample_load(&input, "/c", text, sizeof text - 1), FK_ERR_CONF);
    sample_errors(input.conf, errors, sizeof errors);
    assert_string_equal(errors, "/c:1: NUL byte; write plain text\n"
                                "/c:2: NUL byte; write plain text\n");
    sample_unload(&input);
}

static void mistakes_come_in_the_order_of_lines(void **state)
{
    static const char text[] = "site \"a\" {\n"
                               "  mode = sing\n"
                               "  deadline = 3\n"
                               "  names = {\"x\" \"y\"}\n"
                               "}\n"
                               "channel {\n"
                               "  ca = x;\n"
                               "}\n"
                               "count = many\n";
    struct sample input;
    char errors[4096];

    (void)state;
    assert_err(sample_load(&input, "/c", text, strlen(text)), FK_ERR_CONF);
    sample_errors(input.conf, errors, sizeof errors);
    assert_string_equal(
        errors,
        "/c:2: mode: unknown value \"sing\"; did you mean sign? (one of: sign, decrypt, local)\n"
        "/c:3: deadline: \"3\" is not a time; write a time from 1ms to 1m, with a unit: us, ms, s, "
        "m, h or d\n"
        "/c:4: names: no comma before \"y\"; write \",\" between values\n"
        "/c:6: channel: required option certificate is missing; write certificate = ... (the name "
        "of a file: \"...\")\n"
        "/c:7: unexpected ';'; remove it, a new line or a space is enough\n"
        "/c:9: count: \"many\" is not a whole number; write a whole number\n");
    sample_unload(&input);
}

/* What only follows from a mistake is not told: the missing option is the one that is misspelt. */
static void consequences_are_not_told(void **state)
{
    static const struct {
        const char *text, *errors;
    } rows[] = {
        {"channel {\ncertifcate = a\nca = b\n}\n",
         "/c:2: unknown option \"certifcate\" in channel; did you mean certificate?\n"},
        {"channel {\ncertificate = a\nwhatever = b\n}\n",
         "/c:3: unknown option \"whatever\" in channel; write one of: certificate, ca\n"},
        {"channel {\ncertificate = \"\"\nca = b\n}\n",
         "/c:2: certificate: \"\" is no file name; write the name of a file: \"...\"\n"},
        {"channel { certificate = a ca = b }\nchannel { }\n",
         "/c:2: second block channel; merge it into the first, at /c:1, or remove it\n"},
        {"channel {\ncertificate = a\ninclude \"none\"\n}\n",
         "/c:3: cannot read \"/none\": no such file; write the name of a file that can be read\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sample input;
        char errors[1024];

        assert_err(sample_load(&input, "/c", rows[i].text, strlen(rows[i].text)), FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        assert_string_equal(errors, rows[i].errors);
        sample_unload(&input);
    }
}

static bool is_bad(const char *text, const char *option, const char *of_site)
{
    struct sample input;
    const struct top *top;
    bool bad;

    (void)sample_load(&input, "/c", text, strlen(text));
    top = fk_conf_root(input.conf);
    bad = of_site != NULL ? fk_conf_is_bad(top->sites, of_site[0] != '\0' ? of_site : NULL)
                          : fk_conf_is_bad(&top->block, option);
    sample_unload(&input);
    return bad;
}

/* What later checks must not judge, and what they can whatever else is wrong. */
static void what_is_bad_is_known(void **state)
{
    (void)state;
    assert_false(is_bad("count = 3", "count", NULL));
    assert_false(is_bad("user = a", "count", NULL));
    assert_true(is_bad("count = x", "count", NULL));
    assert_false(is_bad("count = x", "user", NULL));
    assert_true(is_bad("count = 1 count = 2", "count", NULL));
    assert_true(is_bad("count { }", "count", NULL));
    assert_true(is_bad("count 3", "count", NULL));
    assert_true(is_bad("cout = 3", "count", NULL));
    assert_false(is_bad("cout = 3", "user", NULL));
    assert_true(is_bad("completely_else = 3", "user", NULL));
    assert_false(is_bad("completely_else = 3 user = a", "user", NULL));
    assert_false(is_bad("completely_else = 3", "site", NULL));
    assert_true(is_bad("completely_else { }", "site", NULL));
    assert_false(is_bad("completely_else { }", "user", NULL));
    assert_true(is_bad("= 3", "user", NULL));
    assert_true(is_bad("= 3", "site", NULL));
    assert_true(is_bad("sites \"a\" { }", "site", NULL));
    assert_false(is_bad("sites \"a\" { }", "channel", NULL));
    assert_true(is_bad("site { }", "site", NULL));
    assert_true(is_bad("site \"a\" { user = x }", "user", NULL)); /* a "}" missing, it may be */
    assert_false(is_bad("site \"a\" { mode = x }", "site", NULL));
    assert_true(is_bad("include \"none\"", "site", NULL));
    assert_true(is_bad("site { }", NULL, ""));
    assert_true(is_bad("site \"\" { }", NULL, ""));
    assert_false(is_bad("site \"a\" { mode = x }", NULL, ""));
    assert_true(is_bad("site \"a\" { mode = x }", NULL, "mode"));
    assert_true(is_bad("site \"a\" { note = bad }", NULL, "note"));
    assert_false(is_bad("site \"a\" { note = bad }", NULL, "mode"));
}

/* Later complaints take their places among the earlier ones. */
static void later_complaints_are_put_in_order(void **state)
{
    static const char text[] = "count = x\nsite \"a\" {\nkey = k\n}\nuser =\n";
    const struct top *top;
    struct sample input;
    char errors[1024];

    (void)state;
    assert_err(sample_load(&input, "/c", text, strlen(text)), FK_ERR_CONF);
    top = fk_conf_root(input.conf);
    fk_conf_blame(input.conf, top->sites, "key", "third");
    fk_conf_blame(input.conf, top->sites, NULL, "second");
    fk_conf_blame(input.conf, top->sites, "key", "fourth");
    fk_conf_complain(input.conf, &top->block.where, "%s", "after the first");
    sample_errors(input.conf, errors, sizeof errors);
    assert_string_equal(errors, "/c:1: count: \"x\" is not a whole number; write a whole number\n"
                                "/c:1: after the first\n"
                                "/c:2: second\n/c:3: third\n/c:3: fourth\n"
                                "/c:5: user: no value after \"=\"; write a text: \"...\"\n");
    assert_true(fk_conf_is_bad(top->sites, "key"));
    assert_true(fk_conf_is_bad(top->sites, NULL));
    sample_unload(&input);
}

/* --- files --- */

/* Add a second file to a bundle, load the first. */
static int load_files(struct sample *input, const char *const (*files)[2], size_t count)
{
    assert_ok(fk_bundle_new(&input->bundle));
    for (size_t i = 0; i < count; i++)
        assert_ok(fk_bundle_add(input->bundle, files[i][0], files[i][1], strlen(files[i][1])));
    return fk_conf_load(&sample_kind, files[0][0], input->bundle, &input->conf);
}

static void included_files_count_as_if_written_there(void **state)
{
    static const char *const files[][2] = {
        {"/e/c", "include \"sub/sites\"\nsite \"z\" { include \"/common\" mode = local }\n"},
        {"/e/sub/sites", "site \"a\" {\n  certificate = a.crt\n  include \"more\"\n}\n"},
        {"/e/sub/more", "weight = 9"},
        {"/common", "key = k"}};
    struct sample input;
    const struct top *top;
    const struct site *a, *z;
    struct fk_conf_where where;

    (void)state;
    assert_ok(load_files(&input, files, 4));
    top = fk_conf_root(input.conf);
    a = (const void *)top->sites;
    z = (const void *)top->sites->next;
    assert_string_equal(a->certificate, "/e/sub/a.crt");
    assert_int_equal(a->weight, 9);
    assert_string_equal(a->block.where.file, "/e/sub/sites");
    where = fk_conf_option_where(input.conf, &a->block, "weight");
    assert_string_equal(where.file, "/e/sub/more");
    assert_string_equal(z->key, "/k");
    sample_unload(&input);
}

static void mistakes_of_included_files_name_them(void **state)
{
    static const char *const files[][2] = {
        {"/c", "user = a\ninclude \"d\"\ncount = x\ninclude\ninclude \"none\"\ninclude \"c\"\n"},
        {"/d", "user = b\n}\nsite \"s\" {\n"}};
    struct sample input;
    char errors[4096];

    (void)state;
    assert_err(load_files(&input, files, 2), FK_ERR_CONF);
    sample_errors(input.conf, errors, sizeof errors);
    assert_string_equal(
        errors,
        "/c:3: count: \"x\" is not a whole number; write a whole number\n"
        "/c:4: no file name after include; write include \"FILE\"\n"
        "/c:5: cannot read \"/none\": no such file; write the name of a file that can be read\n"
        "/c:6: include \"/c\": the file includes itself; remove one\n"
        "/d:1: user is set twice in test configuration; remove this one or the first, at /c:1\n"
        "/d:2: \"}\" closes nothing; remove it\n"
        "/d:4: site \"s\", opened at line 3, is not closed; write \"}\" at its end\n");
    sample_unload(&input);
}

static void cycle_of_includes_is_told_once(void **state)
{
    static const char *const files[][2] = {
        {"/c", "include \"d\""}, {"/d", "\ninclude \"e\""}, {"/e", "include \"d\""}};
    struct sample input;
    char errors[1024];

    (void)state;
    assert_err(load_files(&input, files, 3), FK_ERR_CONF);
    sample_errors(input.conf, errors, sizeof errors);
    assert_string_equal(errors, "/e:1: include \"/d\": the file includes itself; remove one\n");
    sample_unload(&input);
}

static void includes_have_limits(void **state)
{
    struct sample input;
    char path[16], text[32], errors[1024];

    (void)state;
    /* A chain as long as allowed, and one file longer. */
    for (unsigned extra = 0; extra < 2; extra++) {
        assert_ok(fk_bundle_new(&input.bundle));
        for (unsigned i = 0; i <= FK_CONF_INCLUDE_MAX + extra; i++) {
            snprintf(path, sizeof path, "/%u", i);
            snprintf(text, sizeof text, "include \"%u\"", i + 1);
            if (i == FK_CONF_INCLUDE_MAX + extra)
                text[0] = '\0';
            assert_ok(fk_bundle_add(input.bundle, path, text, strlen(text)));
        }
        assert_err(fk_conf_load(&sample_kind, "/0", input.bundle, &input.conf),
                   extra == 0 ? FK_OK : FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        if (extra > 0)
            assert_string_equal(errors, "/8:1: includes in includes too deep; write at most 8\n");
        sample_unload(&input);
    }
}

static void bomb_of_includes_ends(void **state)
{
    static char text[8 * 1024];
    struct sample input;
    char path[16];

    (void)state;
    assert_ok(fk_bundle_new(&input.bundle));
    for (int i = 0; i < 8; i++) {
        size_t len = 0;

        snprintf(path, sizeof path, "/%d", i);
        while (len < sizeof text - 64 && i < 7)
            len += (size_t)snprintf(text + len, sizeof text - len, "include \"%d\"\n", i + 1);
        assert_ok(fk_bundle_add(input.bundle, path, text, len));
    }
    assert_err(fk_conf_load(&sample_kind, "/0", input.bundle, &input.conf), FK_ERR_CONF);
    assert_int_equal(fk_conf_error_count(input.conf), FK_CONF_ERRORS_MAX + 1);
    assert_non_null(strstr(fk_conf_error(input.conf, 0), "too many included files; write at most"));
    assert_non_null(strstr(fk_conf_error(input.conf, FK_CONF_ERRORS_MAX), "too many errors; mend"));
    sample_unload(&input);
}

/* --- limits --- */

static void nested_blocks_and_braces_have_a_limit(void **state)
{
    static const char open[] = "leaf {", close[] = "}";
    static char text[400 * 1024];
    struct sample input;
    char errors[1024];

    (void)state;
    for (unsigned depth = FK_CONF_NEST_MAX; depth <= FK_CONF_NEST_MAX + 1; depth++) {
        size_t len = 0;

        for (unsigned i = 0; i < depth; i++, len += strlen(open))
            memcpy(text + len, open, strlen(open));
        for (unsigned i = 0; i < depth; i++, len += strlen(close))
            memcpy(text + len, close, strlen(close));
        assert_err(sample_load(&input, "/c", text, len),
                   depth == FK_CONF_NEST_MAX ? FK_OK : FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        if (depth > FK_CONF_NEST_MAX)
            assert_string_equal(errors, "/c:1: blocks in blocks too deep; write at most 8\n");
        sample_unload(&input);
    }
    memset(text, '{', sizeof text);
    assert_err(sample_load(&input, "/c", text, sizeof text), FK_ERR_CONF);
    assert_int_equal(fk_conf_error_count(input.conf), 1);
    sample_unload(&input);
    memcpy(text, "user = ", 7);
    assert_err(sample_load(&input, "/c", text, sizeof text), FK_ERR_CONF);
    assert_int_equal(fk_conf_error_count(input.conf), 1);
    sample_unload(&input);
}

static void long_words_and_strings_have_a_limit(void **state)
{
    enum { LONG = 1024 * 1024 };
    static char text[LONG + 64];
    struct sample input;
    char errors[1024];

    (void)state;
    for (int quoted = 0; quoted < 2; quoted++) {
        const char *quote = quoted ? "\"" : "";
        int len = snprintf(text, sizeof text, "user = %s", quote);

        memset(text + len, 'a', FK_CONF_TOKEN_MAX);
        len += FK_CONF_TOKEN_MAX;
        memcpy(text + len, quote, strlen(quote) + 1);
        sample_load_good(&input, text);
        sample_unload(&input);
        memset(text + len, 'a', LONG - FK_CONF_TOKEN_MAX);
        len += LONG - FK_CONF_TOKEN_MAX;
        memcpy(text + len, quote, strlen(quote) + 1);
        assert_err(sample_load(&input, "/c", text, strlen(text)), FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        assert_string_equal(errors,
                            "/c:1: value of 1048576 bytes is too long; write at most 4096\n");
        sample_unload(&input);
    }
    /* As a name and as a title it is cut in messages. */
    memset(text, 'a', 100);
    memcpy(text + 100, " = x", 5);
    assert_err(sample_load(&input, "/c", text, strlen(text)), FK_ERR_CONF);
    assert_non_null(strstr(fk_conf_error(input.conf, 0), "aaa...\" in test configuration"));
    sample_unload(&input);
}

static void long_lists_have_a_limit(void **state)
{
    static char text[FK_CONF_LIST_MAX * 6 + 64];
    struct sample input;
    char errors[1024];
    size_t len;

    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        len = (size_t)snprintf(text, sizeof text, "site \"s\" { names = {");
        for (int i = 0; i < FK_CONF_LIST_MAX + extra; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%d", i == 0 ? "" : ",", i);
        memcpy(text + len, "} }", 4);
        assert_err(sample_load(&input, "/c", text, strlen(text)), extra == 0 ? FK_OK : FK_ERR_CONF);
        sample_errors(input.conf, errors, sizeof errors);
        assert_string_equal(
            errors, extra == 0 ? "" : "/c:1: list of too many values; write at most 16384\n");
        sample_unload(&input);
    }
}

UNIT_MAIN(cmocka_unit_test(every_mistake_is_told_with_its_remedy),
          cmocka_unit_test(nul_bytes_are_told),
          cmocka_unit_test(mistakes_come_in_the_order_of_lines),
          cmocka_unit_test(consequences_are_not_told), cmocka_unit_test(what_is_bad_is_known),
          cmocka_unit_test(later_complaints_are_put_in_order),
          cmocka_unit_test(included_files_count_as_if_written_there),
          cmocka_unit_test(mistakes_of_included_files_name_them),
          cmocka_unit_test(cycle_of_includes_is_told_once), cmocka_unit_test(includes_have_limits),
          cmocka_unit_test(bomb_of_includes_ends),
          cmocka_unit_test(nested_blocks_and_braces_have_a_limit),
          cmocka_unit_test(long_words_and_strings_have_a_limit),
          cmocka_unit_test(long_lists_have_a_limit))
