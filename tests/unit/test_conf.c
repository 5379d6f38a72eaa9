/* conf: what is read, what is printed, and what happens without memory. */
#include "conf_sample.h"
#include "failmalloc.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void values_of_every_type_are_read(void **state)
{
    struct sample input;
    const struct top *top = sample_load_good(
        &input, "user = nobody count = 18446744073709551615 # comment { \" \n"
                "site \"s\" {\n"
                "  names = {\"a\", b-c.d_e/f:g*h+i%j,\n \"\"} mode = local allow = {decrypt}\n"
                "  deadline = 1m weight = 100 cache = 1g rate = 10/h workers = 64 dhe = yes\n"
                "  certificate = \"../a b.crt\" key = /abs/k note = \"\\\"\\\\\\n\\t\xc3\xa4\"\n"
                "  from = {\"10.0.0.0/8\", \"2001:db8::/32\", 127.0.0.1, \"::1\"}\n"
                "  chain = {a.crt, \"/b.crt\"}\n"
                "}\r\n");
    const struct site *site = (const void *)top->sites;

    (void)state;
    assert_string_equal(top->user, "nobody");
    assert_true(top->count == UINT64_MAX);
    assert_string_equal(site->block.title, "s");
    assert_string_equal(site->block.where.file, "/etc/farkey/c");
    assert_int_equal(site->block.where.line, 2);
    assert_int_equal(site->names.count, 3);
    assert_string_equal(site->names.items[1], "b-c.d_e/f:g*h+i%j");
    assert_string_equal(site->names.items[2], "");
    assert_int_equal(site->mode, MODE_LOCAL);
    assert_int_equal(site->allow, ALLOW_DECRYPT);
    assert_int_equal(site->deadline, 60000000);
    assert_int_equal(site->weight, 100);
    assert_int_equal(site->cache, 1073741824);
    assert_int_equal(site->rate, 10);
    assert_int_equal(site->workers, 64);
    assert_true(site->dhe);
    assert_string_equal(site->certificate, "/etc/farkey/../a b.crt");
    assert_string_equal(site->key, "/abs/k");
    assert_string_equal(site->note, "\"\\\n\t\xc3\xa4");
    assert_int_equal(site->from.count, 4);
    assert_int_equal(site->chain.count, 2);
    assert_string_equal(site->chain.items[0], "/etc/farkey/a.crt");
    assert_string_equal(site->chain.items[1], "/b.crt");
    sample_unload(&input);
}

static void defaults_fill_what_is_not_written(void **state)
{
    struct sample input;
    const struct top *top = sample_load_good(&input, "site \"s\" { weight = 7 names = one }");
    const struct site *site = (const void *)top->sites;
    struct fk_conf_where where;

    (void)state;
    assert_null(top->user);
    assert_int_equal(top->count, 4);
    assert_string_equal(top->control, "/etc/farkey/run/edge.sock");
    assert_null(top->channel);
    assert_int_equal(site->mode, MODE_SIGN);
    assert_int_equal(site->allow, ALLOW_SIGN | ALLOW_CLIENT);
    assert_int_equal(site->deadline, 3000000);
    assert_int_equal(site->cache, 0);
    assert_int_equal(site->workers, 0);
    assert_int_equal(site->names.count, 1); /* one value is a list of one */
    assert_int_equal(site->from.count, 0);
    assert_null(site->note);
    assert_true(fk_conf_is_set(&site->block, "weight"));
    assert_false(fk_conf_is_set(&site->block, "mode"));
    assert_null(site->block.next);
    where = fk_conf_option_where(input.conf, &site->block, "weight");
    assert_string_equal(where.file, "/etc/farkey/c");
    assert_int_equal(where.line, 1);
    sample_unload(&input);
}

static void blocks_keep_the_order_of_the_file(void **state)
{
    struct sample input;
    const struct top *top = sample_load_good(
        &input, "site \"b\" { } leaf { leaf { depth = 2 } depth = 1 leaf { depth = 3 } }\n"
                "site \"a\" { } site \"c\" { }");
    const struct leaf *leaf = (const void *)top->leaves;

    (void)state;
    assert_string_equal(top->sites->title, "b");
    assert_string_equal(top->sites->next->title, "a");
    assert_string_equal(top->sites->next->next->title, "c");
    assert_int_equal(leaf->depth, 1);
    assert_int_equal(((const struct leaf *)(const void *)leaf->leaves)->depth, 2);
    assert_int_equal(((const struct leaf *)(const void *)leaf->leaves->next)->depth, 3);
    assert_null(leaf->leaves->title);
    sample_unload(&input);
}

static void many_sites_load_in_reasonable_time(void **state)
{
    enum { SITES = 20000 };
    struct sample input;
    char *text = malloc(SITES * 64);
    const struct fk_conf_block *block;
    size_t len = 0, count = 0;

    (void)state;
    for (int i = 0; i < SITES; i++)
        len += (size_t)snprintf(text + len, 64, "site \"%d.example\" { mode = decrypt }\n", i);
    assert_ok(sample_load(&input, "/c", text, len));
    for (block = ((struct top *)fk_conf_root(input.conf))->sites; block != NULL;
         block = block->next)
        count++;
    assert_int_equal(count, SITES);
    sample_unload(&input);
    free(text);
}

/* --- what comes out --- */

static char *printed(const struct fk_conf *conf)
{
    struct {
        char *text; /* in a struct: gcc 12 takes the pointer to a plain local for a dangling one */
        size_t len;
    } memory = {NULL, 0};
    FILE *out = open_memstream(&memory.text, &memory.len);

    fk_conf_print(conf, out);
    assert_int_equal(fclose(out), 0);
    return memory.text;
}

static const char rich[] =
    "user = \"a \\\"b\\\" \\\\ \\n\\t\"\n"
    "site \"one \\\"x\\\"\" { names = {a, \"b c\", \"\"} mode = decrypt allow = {sign, decrypt} "
    "deadline = 59s weight = 3 cache = 1536k rate = 10/h workers = 2 dhe = on certificate = a.crt "
    "key = \"/k\" note = \"\" from = {\"::1\", \"10.0.0.0/8\"} "
    "chain = x.crt }\n"
    "site \"two\" { allow = {} rate = 30/m from = {} workers = auto deadline = 1500us }\n"
    "site \"three\" { allow = all rate = 7/m deadline = 1001us cache = 1025 }\n"
    "channel { certificate = c ca = d }\n"
    "leaf { leaf { depth = 1 } leaf { depth = 0 } }\n";

static void print_shows_what_is_in_force(void **state)
{
    struct sample input;
    char *text;

    (void)state;
    sample_load_good(&input,
                     "site \"s\" { mode = local key = \"k\" workers = 3 }\nchannel { certificate "
                     "= c ca = /d }");
    text = printed(input.conf);
    assert_string_equal(text, "count = 4  # default\n"
                              "control = \"/etc/farkey/run/edge.sock\"  # default\n"
                              "\n"
                              "site \"s\" {\n"
                              "    mode = local\n"
                              "    allow = {sign, client}  # default\n"
                              "    deadline = 3s  # default\n"
                              "    weight = 1  # default\n"
                              "    workers = 3\n"
                              "    dhe = off  # default\n"
                              "    key = \"/etc/farkey/k\"\n"
                              "}\n"
                              "\n"
                              "channel {\n"
                              "    certificate = \"/etc/farkey/c\"\n"
                              "    ca = \"/d\"\n"
                              "}\n");
    free(text);
    sample_unload(&input);
}

/* What the host decides is shown as a default, and gives way to what is written. */
static void default_of_the_host_is_in_force(void **state)
{
    struct sample input;
    struct top *top;
    char *text;

    (void)state;
    sample_load_good(&input, "");
    top = fk_conf_root(input.conf);
    assert_null(top->user);
    assert_ok(fk_conf_set_default(input.conf, &top->block, "user", "farkey"));
    assert_string_equal(top->user, "farkey");
    text = printed(input.conf);
    assert_non_null(strstr(text, "user = \"farkey\"  # default\n"));
    free(text);
    sample_unload(&input);

    sample_load_good(&input, "user = root");
    top = fk_conf_root(input.conf);
    assert_ok(fk_conf_set_default(input.conf, &top->block, "user", "farkey"));
    assert_string_equal(top->user, "root");
    sample_unload(&input);
}

static void strip_default_marks(char *text)
{
    static const char comment[] = "  # default";

    for (;;) {
        char *mark = strstr(text, comment), *rest;

        if (mark == NULL)
            return;
        rest = mark + strlen(comment);
        memmove(mark, rest, strlen(rest) + 1);
    }
}

static void what_is_printed_reads_back_the_same(void **state)
{
    struct sample first, second;
    char *text, *again;
    const struct top *a, *b;

    (void)state;
    a = sample_load_good(&first, rich);
    text = printed(first.conf);
    b = sample_load_good(&second, text);
    again = printed(second.conf);
    strip_default_marks(text);
    strip_default_marks(again);
    assert_string_equal(text, again);
    assert_string_equal(a->user, b->user);
    assert_int_equal(((const struct site *)(const void *)b->sites)->rate, 10);
    assert_int_equal(((const struct site *)(const void *)b->sites->next)->allow, 0);
    assert_int_equal(((const struct site *)(const void *)b->sites->next->next)->allow, 7);
    free(text);
    free(again);
    sample_unload(&first);
    sample_unload(&second);
}

static void rates_read_back_the_same(void **state)
{
    static const char *const units[] = {"s", "m", "h"};
    char text[128];

    (void)state;
    for (unsigned n = 0; n < 2000; n++) {
        for (size_t i = 0; i < 3; i++) {
            struct sample first, second;
            const struct top *a, *b;
            char *out;

            snprintf(text, sizeof text, "site \"s\" { rate = %u/%s }", n, units[i]);
            a = sample_load_good(&first, text);
            out = printed(first.conf);
            b = sample_load_good(&second, out);
            assert_int_equal(((const struct site *)(const void *)a->sites)->rate,
                             ((const struct site *)(const void *)b->sites)->rate);
            free(out);
            sample_unload(&first);
            sample_unload(&second);
        }
    }
}

static void child_loads_the_same_from_the_sealed_bundle(void **state)
{
    struct fk_bundle *live, *sealed;
    struct fk_conf *here, *there;
    char dir[] = "/tmp/farkey-test-XXXXXX", home[4096];
    char *text, *again;
    FILE *file;
    int fd;

    (void)state;
    assert_non_null(getcwd(home, sizeof home));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(mkdir("a[b]*", 0700), 0);
    file = fopen("a[b]*/c", "w");
    fputs("include \"*.site\"\ninclude \"none/*.site\"\n", file);
    assert_int_equal(fclose(file), 0);
    file = fopen("a[b]*/x.site", "w");
    fputs("site \"x\" { certificate = x.crt }\nsite \"y\" { }", file);
    assert_int_equal(fclose(file), 0);

    assert_ok(fk_bundle_new(&live));
    assert_ok(fk_conf_load(&sample_kind, "a[b]*/c", live, &here));
    assert_string_equal(((struct top *)fk_conf_root(here))->sites->where.file, "a[b]*/x.site");
    assert_ok(fk_bundle_seal(live, &fd));
    fk_bundle_free(live);
    assert_int_equal(remove("a[b]*/x.site") | remove("a[b]*/c") | remove("a[b]*"), 0);
    assert_int_equal(chdir(home), 0);
    assert_int_equal(rmdir(dir), 0);

    assert_ok(fk_bundle_open(fd, &sealed));
    close(fd);
    assert_ok(fk_conf_load(&sample_kind, "a[b]*/c", sealed, &there));
    text = printed(here);
    again = printed(there);
    assert_non_null(strstr(text, "x.crt"));
    assert_string_equal(text, again);
    free(text);
    free(again);
    fk_conf_free(here);
    fk_conf_free(there);
    fk_bundle_free(sealed);
}

static void manual_lists_everything(void **state)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    /* Tables that contain themselves end at the depth that the parser takes. */
    fk_conf_print_manual(&sample_kind, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, ".Ss site \\(dqTITLE\\(dq { ... }\nA site.\n"));
    assert_non_null(strstr(text, ".It Ic names No = Ar \"list\"\nNames.\nOf DNS.\n"));
    assert_non_null(strstr(text, ".It Cm \"sign\"\nSign only.\n"));
    assert_non_null(strstr(text, "Default:\n.Li \"3s\" .\n"));
    assert_non_null(strstr(text, ".Ss channel { ... }\nThe channel.\nAt most one.\n"));
    assert_non_null(strstr(text, "Required.\n"));
    free(text);
}

/* --- memory --- */

static int load_rich(void *context)
{
    struct fk_bundle *bundle = NULL;
    struct fk_conf *conf = NULL;
    int err;

    if ((err = fk_bundle_new(&bundle)) == FK_OK &&
        (err = fk_bundle_add(bundle, "/c", context, strlen(context))) == FK_OK &&
        (err = fk_bundle_add(bundle, "/d", rich, strlen(rich))) == FK_OK)
        err = fk_conf_load(&sample_kind, "/c", bundle, &conf);
    if (err == FK_OK)
        err = fk_conf_set_default(conf, fk_conf_root(conf), "user", "farkey");
    if (err == FK_ERR_CONF)
        err = FK_OK; /* mistakes are expected here */
    fk_conf_free(conf);
    fk_bundle_free(bundle);
    return err;
}

static void every_failed_allocation_is_survived(void **state)
{
    static char good[] = "include \"d\"";
    static char globbing[] = "include \"/none/*\" include \"/none/[a]\" include \"d\"";
    static char bad[] = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\nt\nu\nv\n"
                        "include \"none\" site { names = {a b c d e f} mode = x note = bad";

    (void)state;
    assert_true(failmalloc_try(load_rich, good) > 10);
    assert_true(failmalloc_try(load_rich, globbing) > 10);
    assert_true(failmalloc_try(load_rich, bad) > 10);
}

UNIT_MAIN(cmocka_unit_test(values_of_every_type_are_read),
          cmocka_unit_test(defaults_fill_what_is_not_written),
          cmocka_unit_test(blocks_keep_the_order_of_the_file),
          cmocka_unit_test(many_sites_load_in_reasonable_time),
          cmocka_unit_test(print_shows_what_is_in_force),
          cmocka_unit_test(default_of_the_host_is_in_force),
          cmocka_unit_test(what_is_printed_reads_back_the_same),
          cmocka_unit_test(rates_read_back_the_same),
          cmocka_unit_test(child_loads_the_same_from_the_sealed_bundle),
          cmocka_unit_test(manual_lists_everything),
          cmocka_unit_test(every_failed_allocation_is_survived))
