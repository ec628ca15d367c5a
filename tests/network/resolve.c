/* Resolves its argument as a program does: prints the addresses, or fails with 2. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **arguments) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char text[64];
    if (count != 2 || getaddrinfo(arguments[1], "443", &hints, &found) != 0)
        return 2;
    for (; found; found = found->ai_next)
        if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST) == 0)
            puts(text);
    return 0;
}
