/* Lines about sites for the metrics: see sitefacts.h. */
#include "edge/sitefacts.h"

#include "admin/command.h"
#include "base/err.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* A label's value: backslash, quote and end of line are escaped. */
static void print_value(const char *text, FILE *out)
{
    for (; *text != '\0'; text++)
        if (*text == '\n')
            fputs("\\n", out);
        else
            fprintf(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
}

static void print_site(const char *role, const struct fk_edge_site *site, FILE *out)
{
    fprintf(out, "farkey_%s_site_info{site=\"", role);
    print_value(site->block.title, out);
    fprintf(out, "\",mode=\"%s\",expose=\"%s\"} 1\n", fk_edge_mode_name(site),
            fk_edge_expose_name(site));
}

int fk_sitefacts_make(const char *role, const struct fk_edge_conf *conf, char **ret,
                      size_t *ret_len)
{
    FILE *out = open_memstream(ret, ret_len);

    if (out == NULL)
        return FK_ERR_NOMEM;
    if (conf->sites != NULL)
        fprintf(out,
                "# HELP farkey_%s_site_info The sites in service, with each one's mode: always 1.\n"
                "# TYPE farkey_%s_site_info gauge\n",
                role, role);
    for (const struct fk_conf_block *block = conf->sites; block != NULL; block = block->next)
        print_site(role, (const void *)block, out);
    if (fclose(out) == 0)
        return FK_OK;
    free(*ret);
    *ret = NULL;
    return FK_ERR_NOMEM;
}

void fk_sitefacts_send(struct fk_child *admin, const char *role, const struct fk_edge_conf *conf)
{
    char *text = NULL;
    size_t len = 0;
    int err = fk_sitefacts_make(role, conf, &text, &len);

    if (err == FK_OK)
        err = fk_admin_send_facts(admin, text, len);
    if (err != FK_OK)
        fk_log(FK_LOG_WARN, "metrics do not tell the modes of sites", fk_error(err));
    free(text);
}
