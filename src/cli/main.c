/* farkey(1): finds the subcommand and hands over to it. */
#include <stdio.h>

int main(void)
{
    fputs("usage: farkey COMMAND ...\n", stderr);
    return 2;
}
