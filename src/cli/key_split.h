/* `farkey key split` and `farkey key combine-check` (key_split.c); exit statuses as of commands.h.
 */
#ifndef FK_CLI_KEY_SPLIT_H
#define FK_CLI_KEY_SPLIT_H

int fk_key_split(int argc, char **argv);
int fk_key_combine_check(int argc, char **argv);

#endif
