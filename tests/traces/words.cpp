#include <bits/stdc++.h>
int main()
{
    std::map<std::string, std::vector<std::size_t>> lines;
    std::regex word("[a-z]+", std::regex::icase);
    std::string line;
    for (std::size_t number = 1; std::getline(std::cin, line); number++)
        for (std::sregex_iterator it(line.begin(), line.end(), word), end; it != end; ++it)
            lines[it->str()].push_back(number);
    std::vector<std::pair<std::string, std::vector<std::size_t>>> sorted(lines.begin(), lines.end());
    std::sort(sorted.begin(), sorted.end(), [](auto &a, auto &b) { return a.second.size() > b.second.size(); });
    for (auto &entry : sorted)
        std::cout << std::setw(8) << entry.second.size() << ' ' << entry.first << '\n';
}
